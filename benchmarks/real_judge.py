"""A real, hopelessly biased judge: what each method gets out of SmolLM2-135M on vLLM, on the CPU.

    python -m benchmarks.real_judge intercode_sql_step_groups.jsonl --vllm-python PYTHON \
        --model DIR [--num 20] [--store real_judge.db] [--json FILE]

The first NUM groups of six distinct trajectories whose labels differ, through the service's own
pipeline. Judge calls are kept in the store: a run that was cut off goes on where it stopped. Takes
about half an hour on one core, so it is no part of `benchmarks.ranking`.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase as LETTERS
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.content import real_groups
from benchmarks.groups import CONVERTERS
from benchmarks.kept_calls import answered
from benchmarks.machine import machine
from benchmarks.readings import EQUAL_TOKENS, WAYS, Answer, Reading, read
from podium_service.errors import VerdictInvalid, VerdictTruncated
from podium_service.evaluation.run_judge import GroupOutcome, JudgeRunner
from podium_service.http.service import open_service
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.wording import DIGITS, PROMPT_VERSION, TIE
from podium_service.schemas import RankRequest
from podium_service.scoring.bootstrap import Bootstrap, Measure
from tests.integration.vllm_server import vllm_server

SIZE = 6  # pairs of 6: 30 calls in both orders
IN_FLIGHT = 4
# Left to itself this model opens with "The" or "<" three times out of four, and in 6% of the calls
# at most one of the letters is among the 20 likeliest tokens: that is no verdict. So it may answer
# with letters (20 with "=") or digits only, and its probabilities are those among them.
LABELS = {"pairwise": f"{LETTERS}{TIE}", "pointwise": DIGITS}
# At temperature 0 a call can be read in several ways, and a second run gives the same.
JUDGES: dict[str, dict[str, Any]] = {
    "pairwise": {"method": "pairwise", "passes": 1, "max_tokens": 1},
    "pointwise": {"method": "pointwise", "passes": 2, "max_tokens": 1},
    "listwise": {"method": "listwise", "passes": 4, "max_tokens": 600},
}
# Where the grammar lets it write blanks between JSON fields, this model writes nothing else.
COMPACT_JSON = {"backend": "xgrammar", "disable_any_whitespace": True}
VLLM_ARGS = (
    *("--structured-outputs-config", json.dumps(COMPACT_JSON)),
    *("--logprobs-mode", "processed_logprobs"),
)
NO_VERDICT = (VerdictInvalid, VerdictTruncated)
COMMON = {"model": "judge", "temperature": 0.0, "timeout_s": 3000}


@dataclass(frozen=True, slots=True)
class Case:
    """One group and the truth about its distinct trajectories, in the service's order of them."""

    request: RankRequest
    truth: list[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One way over all groups; measures with 95% intervals, the rest per group.

    A group without usable replies counts as one without signal: auc .5, tau 0.
    """

    way: str
    auc: Measure
    tau_b: Measure
    pairs_right: Measure
    calls: float
    tokens: float
    no_verdict: float


def main(
    file: Path,
    vllm_python: Annotated[Path, typer.Option()],
    model: Annotated[Path, typer.Option(help="Made by python -m podium_trainer.run.smollm2.")],
    num: int = 20,
    store: str = "real_judge.db",
    max_model_len: int = 8192,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Judge NUM groups by every method, and print what each way of reading the calls is worth."""
    found = list(cases(file, num))
    started = time.perf_counter()
    with vllm_server(vllm_python, model, max_model_len=max_model_len, extra_args=VLLM_ARGS) as url:
        answers, failures = asyncio.run(judged(judges(url, model), store, found))
    rows = [row(name, answers[WAYS[name].judge], found) for name in WAYS]
    report = {
        "machine": machine(),
        "model": model.name,
        "vllm": vllm_version(vllm_python),
        "prompt_version": PROMPT_VERSION,
        "data": file.name,
        "groups": len(found),
        "failures": failures,
        "text_is_no_verdict": {name: unsaid(each) for name, each in answers.items()},
        "wall_s": round(time.perf_counter() - started),
        "equal_tokens": EQUAL_TOKENS,
        "rows": [asdict(each) for each in rows],
    }
    show(rows, report)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=1) + "\n")


def cases(file: Path, num: int) -> Iterator[Case]:
    """Groups as recorded, without the keys that simulated judges need, and their labels.

    The mean label counts where identical trajectories are labelled differently.
    """
    groups = zip(CONVERTERS["intercode-sql"](file), real_groups("intercode-sql", file), strict=True)
    for group, labelled in groups:
        request = RankRequest.model_validate(group)
        members = transcribe(request, range(len(request.trajectories))).members
        truth = [fmean(labelled.truth[index] for index in each) for each in members]
        if len(truth) == SIZE and len(set(truth)) > 1 and num > 0:
            num -= 1
            yield Case(request, truth)


# Asking


Answered = dict[str, list[list[Answer]]]


def judges(url: str, model: Path) -> dict[str, dict[str, Any]]:
    """The judges as a judges file has them."""
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    named = {name: COMMON | own | {"base_urls": [url]} for name, own in JUDGES.items()}
    for name, labels in LABELS.items():
        allowed = [vocabulary[label] for label in labels]
        named[name]["extra_body"] = {"allowed_token_ids": allowed}
    return named


async def judged(
    judges: dict[str, dict[str, Any]], store: str, found: Sequence[Case]
) -> tuple[Answered, dict[str, dict[str, int]]]:
    """Ask every judge about every group.

    Returns:
        By judge, the answers about each group, none where it was not ranked; and why, counted.
    """
    answers: Answered = {}
    failures: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "judges.yaml"
        config.write_text(yaml.safe_dump({"default_judge": "pairwise", "judges": judges}))
        async with open_service(config, store) as service:
            runner = JudgeRunner(service, IN_FLIGHT, 36_000, advance=lambda: None)
            for name in JUDGES:
                started = time.perf_counter()
                outcomes = await runner.rank_all(name, [case.request for case in found])
                raise_unless_judged(outcomes)
                answers[name] = [await answered(service, each) for each in outcomes]
                failures[name] = dict(
                    Counter(each.failure.code for each in outcomes if each.failure)
                )
                print(f"{name}: {time.perf_counter() - started:.0f} s", failures[name], flush=True)
    return answers, failures


def raise_unless_judged(outcomes: Sequence[GroupOutcome]) -> None:
    """Raise what is no fault of the judge's replies: without an endpoint or a store there is
    nothing to measure, and a table of groups "without signal" would hide it."""
    for each in outcomes:
        if each.failure and not isinstance(each.failure, NO_VERDICT):
            raise each.failure


def unsaid(answers: Sequence[Sequence[Answer]]) -> float | None:
    """The share of first replies whose text is no verdict; None if no group was ranked."""
    said = [each.said for about_group in answers for each in about_group]
    return 1 - fmean(said) if said else None


# Showing


def row(name: str, answers: Sequence[Sequence[Answer]], found: Sequence[Case]) -> Row:
    readings = [
        read(WAYS[name], each, case.truth) for each, case in zip(answers, found, strict=True)
    ]
    ranked: list[Reading] = [reading for reading in readings if reading]
    draw = Bootstrap(len(found))
    pairs = [(each.right, each.compared) if each else None for each in readings]
    return Row(
        way=name,
        auc=draw.mean([each.auc if each else 0.5 for each in readings], "no group"),
        tau_b=draw.mean([each.tau_b if each else 0.0 for each in readings], "no group"),
        pairs_right=draw.ratio(pairs, "it compares no pairs"),
        calls=fmean(each.calls for each in ranked) if ranked else 0.0,
        tokens=fmean(each.tokens for each in ranked) if ranked else 0.0,
        no_verdict=sum(each.unsaid for each in ranked)
        / max(1.0, sum(each.replies for each in ranked)),
    )


def show(rows: Sequence[Row], report: dict[str, Any]) -> None:
    facts = {name: value for name, value in report.items() if name != "rows"}
    table = Table(title=json.dumps(facts), title_justify="left")
    for name in ("way", "auc", "tau", "pairs right", "calls", "tokens", "no verdict"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for each in rows:
        measures = [interval(each.auc), interval(each.tau_b), interval(each.pairs_right)]
        spent = [f"{each.calls:.1f}", f"{each.tokens:.0f}", f"{each.no_verdict:.0%}"]
        table.add_row(each.way, *measures, *spent)
    Console(width=150).print(table)


def interval(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "-"
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]"


def vllm_version(python: Path) -> str:
    """The version of vLLM in its own environment."""
    found = python.parent.parent.glob("lib/*/site-packages/vllm*.dist-info")
    return next((each.name.removesuffix(".dist-info") for each in found), "unknown")


if __name__ == "__main__":
    typer.run(main)
