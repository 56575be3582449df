"""Win rates of whole runs: a real service judges, a tiny model plays, kills and failures happen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from podium_trainer.evaluation.baseline import BaselineError, read_baseline
from podium_trainer.evaluation.evaluator import choose
from podium_trainer.run.checks.preflight import PreflightError
from podium_trainer.tasks.task import Prompt
from tests.fake_service import failed, ranked, serve
from tests.service.process import running
from tests.trainer.runs import JUDGES, Recorder, settings, train


@pytest.fixture(scope="module")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "judges.yaml").write_text(yaml.safe_dump(JUDGES))
    with running("--config", "judges.yaml", cwd=folder) as podium:
        assert podium.url
        yield podium.url


def recipe(folder: Path, service: str, **changes: Any) -> dict[str, Any]:
    """Return a run with six held-out prompts without a reference, evaluated every second step."""
    held_out = folder / "held_out.jsonl"
    lines = [json.dumps({"id": f"h{n}", "prompt": f"tell {n}"}) for n in range(6)]
    held_out.write_text("\n".join(lines))
    evaluation = {"every": 2, "win_rate": {"prompts": 4, "samples": 3}, **changes.pop("eval", {})}
    made = settings(folder, service, eval=evaluation, **changes)
    made["task"]["options"]["held_out"] = str(held_out)
    return made


def test_a_run_without_a_score_shows_its_win_rate(tmp_path: Path, service_url: str) -> None:
    made = recipe(tmp_path, service_url, steps=4, checkpoint={"every": 4})
    rows = train(made).rows
    assert [row["held_out"] for row in rows] == [None] * 5
    assert [row["win_rate"] is not None for row in rows] == [True, False, True, False, True]
    first = {name: rows[0][name] for name in rows[0] if name.startswith("win_rate")}
    assert first == {
        "win_rate": 0.5, "win_rate_stderr": 0.0, "win_rate_prompts": 4, "win_rate_failed": 0,
    }  # fmt: skip
    assert (rows[4]["win_rate_prompts"], rows[4]["win_rate_failed"]) == (4, 0)
    kept = [
        json.loads(line) for line in (tmp_path / "run/baseline.jsonl").read_text().split("\n")[:-1]
    ]
    assert len(kept) == 12
    assert all(each["messages"][-1]["role"] == "assistant" for each in kept)


class Killed(Exception):
    """Ends a run between two steps."""


def test_the_attempts_of_step_0_outlive_a_kill(tmp_path: Path, service_url: str) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    changes: dict[str, Any] = {"steps": 4, "checkpoint": {"every": 2}}
    train(recipe(whole, service_url, **changes))

    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    made = recipe(broken, service_url, **changes)
    with pytest.raises(Killed):
        train(made, watcher=Recorder(kill))
    train(made, resume=True)
    for name in ("metrics.jsonl", "baseline.jsonl"):
        assert (broken / "run" / name).read_bytes() == (whole / "run" / name).read_bytes()


def service_that_fails_one_comparison(seen: list[dict[str, Any]]) -> Starlette:
    """Return a service that prefers the attempts of now, and cannot rank those at prompt h3."""

    async def judges(request: Request) -> Response:
        main = {"name": "main", "default": True, "answers": True}
        return JSONResponse({"judges": [main, {"name": "other", "answers": True}]})

    def answer(index: int, group: dict[str, Any]) -> bytes:
        about = group["metadata"]
        rewards = {each["id"]: int(each["id"]) / 10 for each in group["trajectories"]}
        if about.get("kind") != "win_rate":
            return ranked(index, group, rewards)
        seen.append(group)
        if about["prompt_id"] == "h3":
            return failed(index, 502, "verdict_invalid", retryable=False)
        line = json.loads(ranked(index, group, rewards))
        for result in line["ranking"]["results"]:
            result["rank"] = 5.0 if result["id"] in about["baseline"] else 2.0
        return json.dumps(line).encode() + b"\n"

    async def rank_batch(request: Request) -> Response:
        groups = (await request.json())["groups"]
        lines = [answer(index, group) for index, group in enumerate(groups)]
        return Response(b"".join(lines), media_type="application/x-ndjson")

    routes = [Route("/judges", judges), Route("/rank/batch", rank_batch, methods=["POST"])]
    return Starlette(routes=routes)


def test_another_judge_compares_and_a_failure_is_no_number(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with serve(service_that_fails_one_comparison(seen)) as url:
        made = recipe(
            tmp_path, url, steps=2,
            eval={"judge": "other", "win_rate": {"prompts": 6, "samples": 3}},
        )  # fmt: skip
        made["service"]["rubric"] = "Be short."
        last = train(made).rows[-1]
    assert (last["win_rate"], last["win_rate_stderr"]) == (1.0, 0.0)
    assert (last["win_rate_prompts"], last["win_rate_failed"]) == (5, 1)
    assert {group["judge"] for group in seen} == {"other"}
    assert not any("rubric" in group for group in seen)  # the other judge has criteria of its own
    assert [len(group["trajectories"]) for group in seen] == [6] * 6
    assert len({tuple(group["metadata"]["baseline"]) for group in seen}) > 1
    assert all(group["metadata"]["step"] == 2 for group in seen)


def test_an_unknown_judge_of_the_win_rate_is_refused(tmp_path: Path, service_url: str) -> None:
    with pytest.raises(PreflightError, match=r"^eval\.judge 'solomon' is not configured: use one"):
        train(recipe(tmp_path, service_url, eval={"judge": "solomon"}))


def test_a_run_without_attempts_of_step_0_goes_on(
    tmp_path: Path, service_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    train(recipe(tmp_path, service_url, steps=2, checkpoint={"every": 2}))
    (tmp_path / "run/baseline.jsonl").unlink()
    rows = train(recipe(tmp_path, service_url, steps=6), resume=True).rows
    assert [row["win_rate"] for row in rows] == [None] * 4
    warnings = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert [message[:25] for message in warnings] == ["there is no win rate: " + str(tmp_path)[:3]]


def test_a_broken_file_of_step_0_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "baseline.jsonl").write_text('{"prompt_id": "a"}\n')
    prompt = Prompt("a", [{"role": "user", "content": "?"}])
    with pytest.raises(BaselineError, match="cannot be read: 'messages': delete it to go on"):
        read_baseline(tmp_path / "baseline.jsonl", [prompt])


def test_attempts_at_a_prompt_that_has_changed_are_left_out(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "yes"}]
    line = {"prompt_id": "a", "messages": said, "finish_reason": "stop"}
    (tmp_path / "baseline.jsonl").write_text(json.dumps(line) + "\n")
    for content, found in (("old", ["a"]), ("new", [])):
        prompt = Prompt("a", [{"role": "user", "content": content}])
        assert list(read_baseline(tmp_path / "baseline.jsonl", [prompt])) == found


def test_prompts_are_chosen_by_the_seed_and_keep_their_order() -> None:
    prompts = [Prompt(f"{n:02}", []) for n in range(20)]
    chosen = [each.id for each in choose(prompts, 5, seed=1)]
    assert chosen == sorted(chosen)
    assert chosen == [each.id for each in choose(prompts, 5, seed=1)]
    assert chosen != [each.id for each in choose(prompts, 5, seed=2)]
    assert set(chosen) < {each.id for each in choose(prompts, 6, seed=1)}
    assert len(choose(prompts, 99, seed=1)) == 20
