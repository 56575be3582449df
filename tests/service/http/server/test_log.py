"""The log of a running service."""

import json
from pathlib import Path

import pytest

from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    fails,
    says,
    scores,
    until,
)
from tests.service.helpers import group, judges_file, llm
from tests.service.process import running

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)
MARKER = "zebra-7f3a91"


def quotes(status: int = 200, body: str | None = None) -> Step:
    """Return a step that repeats a trajectory's text and the API key in its response."""

    def step(asked: Asked) -> Answer:
        said = f"{MARKER} {asked.headers['authorization']}"
        assert MARKER in asked.text
        return Answer({"error": {"message": f"{body or ''} {said}", "code": "e"}}, status)

    return step


async def test_the_log_holds_no_key_and_no_text_of_a_trajectory(tmp_path: Path) -> None:
    steps: dict[str, Step] = {
        "bad-key": quotes(401),
        "bad-parameter": quotes(400, "Unsupported value: 'temperature'"),
        "bad-request": quotes(400),
        "broken": quotes(500),
        "busy": quotes(429),
        "too-long": quotes(400, "maximum context length exceeded by"),
        "no-credit": quotes(429, "quota"),
        "no-completion": lambda asked: Answer(f"{MARKER} {asked.headers['authorization']}"),
        "no-verdict": says(f"{MARKER} is best"),
        "strange-ids": says(json.dumps({MARKER: {"score": 1}})),
        "refuses": says(None, refusal=f"I cannot judge {MARKER}"),
        "good": GOOD,
    }

    def dispatch(asked: Asked) -> Answer:
        return steps[asked.body["model"]](asked)

    async with ScriptedJudge(always=dispatch).serving() as judge:
        judges = {
            name: llm(judge.url, model=name, api_key_env="JUDGE_KEY", temperature=0, passes=1)
            for name in steps
        }
        judges["chain"] = {**judges["bad-key"], "fallback": ["too-long", "broken"]}
        config = judges_file(tmp_path / "judges.yaml", **judges)
        with running(
            "--config",
            str(config),
            "--log-level",
            "debug",
            cwd=tmp_path,
            JUDGE_KEY="sk-judge-secret",
            PODIUM_API_KEY="podium-secret",
        ) as process:
            async with process.client(authorization="Bearer podium-secret") as http:
                texts = ""
                for name in judges:
                    asked = group(f"5 {MARKER}", f"five {MARKER}", judge=name, task=MARKER)
                    answer = await http.post("/rank", json=asked)
                    assert answer.is_success is (name == "good"), name
                    texts += answer.text
                await http.post("/rank", json=group(MARKER, metadata={"a": MARKER}))
                await http.post("/rank", content=f'{{"task": "{MARKER}')
                await http.post("/rank", json=group(MARKER, "5", judge="nope"))
                await http.post("/rank/batch", json={"groups": [group(MARKER), MARKER]})
                await http.get("/judges")
                await http.get("/judges", headers={"Authorization": "Bearer podium-secret-not"})
            await until(lambda: len(process.logged("request")) == len(judges) + 6)
            logs = process.logs  # every line is JSON
    secrets = (MARKER, "sk-judge-secret", "podium-secret")
    leaks = [line for line in logs if any(secret in json.dumps(line) for secret in secrets)]
    assert leaks == []
    assert "sk-judge-secret" not in texts
    requests = [line for line in logs if line["event"] == "request"]
    assert len({line["request_id"] for line in requests}) == len(requests)


async def test_every_log_line_of_a_request_has_its_id(tmp_path: Path) -> None:
    async with ScriptedJudge([fails(500)], always=GOOD).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url))
        with running("--config", str(config), cwd=tmp_path) as process:
            async with process.client() as http:
                asked = group("5", "five")
                await http.post("/rank", json=asked, headers={"X-Request-ID": "step-12"})
                await until(lambda: bool(process.logged("request")))
            for event in ("judge_attempt_failed", "request"):
                assert [line["request_id"] for line in process.logged(event)] == ["step-12"]
            [request] = process.logged("request")
            assert (request["route"], request["status"], request["level"]) == ("/rank", 200, "info")
            assert request["s"] > 0
