"""What is a real judge worth, by what it is asked?

    python -m benchmarks.real_judge --gguf FILE.gguf [--data FOLDER]
    python -m benchmarks.real_judge --vllm-python PYTHON --model-dir DIR --dtype bfloat16
    python -m benchmarks.real_judge --url http://127.0.0.1:PORT/v1

Every method and style of prompt, through the service's own pipeline (`ways`), against direct
questions that a person would type (`direct`) and RULER's procedure (`ruling`), on groups whose
truth is known (`sets`).

    AUC          the chance that the better of two attempts gets the higher reward; ties count half
    pairs right  the share of pairs in their right order; a tie is not right
    passes       how often each attempt was shown; fewer than all are the first ones of all
    seconds      per group, with 8 groups at once, prefix caching as the endpoint does it
    no verdict   the share of replies that could not be read

Of ways in passes a second table tells what more of them bring, as paired differences: the AUC
gained, and how many times as much squared tau (twice the AUC, less one) a token buys.

Intervals are 95% bootstraps over groups. With `--store`, what was paid is kept, and a run that was
cut off goes on.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.alignment.__main__ import NO_DATA, chosen, kept_in
from benchmarks.ranking.report import Report, Settings
from benchmarks.real_judge.asking import Clock, ask_ways
from benchmarks.real_judge.direct import QUESTIONS, Direct
from benchmarks.real_judge.endpoints import (
    gguf_server,
    model_at,
    served_by_vllm,
    simulated,
    vllm_version,
)
from benchmarks.real_judge.forging import measure_forging
from benchmarks.real_judge.passes import compare_passes
from benchmarks.real_judge.rows import compare_with_direct, rows_of
from benchmarks.real_judge.ruling import RULER, ask_ruler, compare_with_ruler
from benchmarks.real_judge.sets import MADE_UP, SETS, USUAL, USUAL_PAIRS, GroupSet, read_set
from benchmarks.real_judge.ways import CHEAP, WAYS
from podium_service.prompts.wording import PROMPT_VERSION

RESULTS = Path("benchmarks/results/real_judge.json")
FORGED = "forged"
QUICK_GROUPS, FORGED_GROUPS = 4, 24
ASKED = (*QUESTIONS, *WAYS, RULER)
COMMON: dict[str, Any] = {"temperature": 0.0, "timeout_s": 3000.0, "context_tokens": 8192}


async def measure(
    report: Report,
    of: GroupSet,
    asked: Sequence[str],
    dear_groups: int | None,
    url: str,
    model: str,
    folder: Path,
) -> None:
    """Ask everything about one set; one table."""
    clock = Clock(folder / "seconds.json")
    questions = {name: QUESTIONS[name] for name in asked if name in QUESTIONS}
    direct = Direct(url, model, folder / "direct.jsonl")
    readings = await direct.ask(questions, of.groups, clock)
    for name in asked:
        if name in WAYS:
            way, groups = {name: WAYS[name]}, of.groups[: None if name in CHEAP else dear_groups]
            readings |= await ask_ways(way, _endpoint(url, model), groups, folder, clock)
            report.say(f"{of.name}: {name}")
    if RULER in asked:
        readings[RULER] = await ask_ruler(url, model, of.groups[:dear_groups], folder, clock)
        report.say(f"{of.name}: {RULER}")
    rows = rows_of(readings, of.groups, clock.seconds)
    report.table(f"{of.name}: {len(of.groups)} groups of {of.num_attempts}", rows)
    compare_passes(report, of.name, readings, of.groups)
    compare_with_direct(report, of.name, readings, of.groups)
    compare_with_ruler(report, of.name, readings, of.groups)


def _endpoint(url: str, model: str) -> dict[str, Any]:
    return {"model": model, "base_urls": [url], **COMMON}


@contextmanager
def endpoint(
    url: str,
    gguf: Path | None,
    vllm: tuple[Path | None, Path | None, str],
    sets: Sequence[GroupSet],
) -> Iterator[str]:
    """Yield the URL that is given, or that of a server for the length of the block."""
    python, model_dir, dtype = vllm
    if url:
        yield url
    elif gguf:
        with gguf_server(gguf) as started:
            yield started
    elif python and model_dir:
        with served_by_vllm(python, model_dir, dtype) as started:
            yield started
    else:
        with simulated(sets) as started:
            yield started


def read_sets(
    report: Report, names: Sequence[str], groups: int | None, *, is_keyed: bool
) -> dict[str, GroupSet]:
    """Return the sets whose files are there."""
    found = {}
    for name in names:
        most = groups or USUAL.get(name, USUAL_PAIRS)
        of = read_set(name, report.settings.data, most, is_keyed=is_keyed)
        if of is None:
            report.say(f"{name} is left out: its file is not in {report.settings.data}")
        else:
            found[name] = of
    return found


def main(
    url: Annotated[str, typer.Option(help="The judge's endpoint, with /v1.")] = "",
    gguf: Annotated[Path | None, typer.Option(help="A model to serve here.")] = None,
    vllm_python: Annotated[Path | None, typer.Option(help="Its environment's Python.")] = None,
    model_dir: Annotated[Path | None, typer.Option(help="The model that vLLM serves.")] = None,
    dtype: Annotated[str, typer.Option(help="In which vLLM computes.")] = "bfloat16",
    label: Annotated[str, typer.Option(help="Of the judge, in the results.")] = "",
    data: Annotated[Path, typer.Option(help="The folder of recorded groups.")] = NO_DATA,
    sets: Annotated[str, typer.Option(help=f"Of {'; '.join(SETS)}; {FORGED}.")] = "",
    ask: Annotated[str, typer.Option(help=f"Of {'; '.join(ASKED)}.")] = "",
    groups: Annotated[int | None, typer.Option(help="Most groups of a set.")] = None,
    dear_groups: Annotated[
        int | None, typer.Option(help=f"Most for all but direct, {' and '.join(CHEAP)}.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Keeps what was paid.")] = None,
    out: Annotated[Path, typer.Option(help="Takes all figures.")] = RESULTS,
    quick: Annotated[bool, typer.Option(help="A simulated judge, few groups, seconds.")] = False,
) -> None:
    """Measure, print a table for each set, and write the figures."""
    if not quick and not (url or gguf or (vllm_python and model_dir)):
        raise typer.BadParameter("no judge: give --url, --gguf, or --vllm-python and --model-dir")
    report = Report(Settings(quick, data))
    usual = MADE_UP if quick else tuple(SETS)
    names = chosen(sets, [*SETS, FORGED], [*usual, FORGED])
    asked = chosen(ask, ASKED, ASKED)
    num = groups or (QUICK_GROUPS if quick else None)
    read = read_sets(report, [each for each in names if each != FORGED], num, is_keyed=quick)
    attacked = read_set("arithmetic", data, num or FORGED_GROUPS, is_keyed=quick)
    assert attacked
    known = [*read.values(), attacked]
    with (
        kept_in(store) as folder,
        endpoint(url, gguf, (vllm_python, model_dir, dtype), known) as at,
    ):
        model = model_at(at)
        facts = {"judge": label or model, "model": model, "prompt_version": PROMPT_VERSION}
        facts |= {"vllm": vllm_version(vllm_python)} if vllm_python else {}
        for name, of in read.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            with report.section(name):
                report.facts(facts)
                asyncio.run(measure(report, of, asked, dear_groups, at, model, folder / name))
        if FORGED in names:
            (folder / FORGED).mkdir(parents=True, exist_ok=True)
            with report.section(FORGED):
                report.facts(facts)
                where, judge = folder / FORGED, _endpoint(at, model)
                asyncio.run(measure_forging(report, judge, attacked.groups, where, asked))
    report.finish()
    report.write(out)


if __name__ == "__main__":
    typer.run(main)
