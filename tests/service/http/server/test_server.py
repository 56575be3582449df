"""The service as a process: killed, drained, reconfigured, guarded, and what its log tells."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from podium_service.errors import ConfigError
from podium_service.http.server.server import require_key_beyond_loopback
from podium_service.judges.endpoint import chat_client
from podium_service.judges.endpoint.resolver import guarded_transport
from podium_service.judges.registry import JudgeRegistry
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    fails,
    hangs,
    says,
    scores,
    until,
)
from tests.service.helpers import group, judges_file, llm, request, service
from tests.service.process import Podium, podium, running

pytestmark = pytest.mark.anyio

GOOD = scores(by_length)
REFERENCE = {"reference": "5"}
MARKER = "zebra-7f3a91"


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer of the database that a service writes."""
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def verdicts(path: Path) -> int:
    found = rows(path, "SELECT DISTINCT key, pass_index FROM calls WHERE verdict IS NOT NULL")
    return len(found)


def assert_sound(path: Path) -> None:
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


# kill -9


async def test_after_a_kill_only_the_calls_that_were_in_flight_are_asked_again(
    tmp_path: Path,
) -> None:
    groups = [group("5", f"five {index}") for index in range(6)]
    shown: Counter[str] = Counter()

    def three_of_four(asked: Asked) -> Answer:
        name = "".join(sorted(asked.shown.values()))
        shown[name] += 1
        return hangs(asked) if shown[name] == 4 else GOOD(asked)

    store = tmp_path / "podium.db"
    async with ScriptedJudge(always=three_of_four).serving() as judge:
        options = ("--config", str(judges_file(tmp_path / "judges.yaml", main=llm(judge.url))))
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                asking = [asyncio.create_task(http.post("/rank", json=each)) for each in groups]
                await until(lambda: judge.calls == 24 and verdicts(store) == 18)
                process.kill()
                lost = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(each, httpx.TransportError) for each in lost)
        assert_sound(store)
        judge.always = GOOD
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                answers = await asyncio.gather(*(http.post("/rank", json=each) for each in groups))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert judge.calls == 24 + 6
    assert [answer.json()["usage"]["calls"] for answer in answers] == [1] * 6
    assert_sound(store)


async def test_whenever_it_is_killed_nothing_that_was_kept_is_paid_again(tmp_path: Path) -> None:
    groups = [group("5", f"five {index}") for index in range(12)]
    needed = 4 * len(groups)
    store = tmp_path / "podium.db"
    async with ScriptedJudge(always=scores(by_length, delay_s=0.02)).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, concurrency=4))
        told: dict[int, str] = {}  # group -> the ranking that its caller was told of
        for kill_at in (5, 20, 33):
            before = judge.calls - (verdicts(store) if store.exists() else 0)
            with running("--config", str(config), cwd=tmp_path) as process:
                async with process.client() as http:

                    async def ask(index: int, http: httpx.AsyncClient = http) -> None:
                        answer = await http.post("/rank", json=groups[index])
                        told[index] = answer.json()["id"]

                    asking = [asyncio.create_task(ask(index)) for index in range(12)]
                    await until(lambda at=kill_at + before: judge.calls >= at)
                    process.kill()
                    await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: judge.connected == 0)  # what was sent has come
            assert_sound(store)
        kept, asked = verdicts(store), judge.calls
        assert 0 < kept < needed
        with running("--config", str(config), cwd=tmp_path) as process:
            async with process.client() as http:
                answers = await asyncio.gather(*(http.post("/rank", json=each) for each in groups))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert judge.calls - asked == needed - kept
    for index, ranking_id in told.items():
        assert answers[index].json()["id"] == ranking_id
        assert answers[index].json()["usage"]["calls"] == 0


# SIGTERM


async def drain(process: Podium, http: httpx.AsyncClient) -> None:
    """Send the signal, and wait until it is not ready; only the next one ends a long drain."""
    process.send(signal.SIGTERM)

    async def draining() -> bool:
        return (await http.get("/readyz")).status_code == 503

    await until(draining)


async def test_sigterm_turns_readiness_off_then_finishes_what_is_in_flight(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD, hold=1000).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url))
        with running("--config", str(config), "--drain-s", "600", cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: judge.in_flight == 4)
                assert (await http.get("/readyz")).status_code == 200
                await drain(process, http)
                process.send(signal.SIGTERM)  # listen no more
                assert not asking.done()
                judge.hold = 0
                answer = await asking
            code = await process.ended()
            assert answer.status_code == 200
            assert code == 0
            assert [line for line in process.logs if line["level"] == "error"] == []
    store = tmp_path / "podium.db"
    assert rows(store, "SELECT id FROM rankings") == [(answer.json()["id"],)]
    assert verdicts(store) == 4


async def test_what_has_no_answer_when_the_grace_ends_is_told_to_ask_another_server(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD, hold=1000).serving() as judge:
        config = str(judges_file(tmp_path / "judges.yaml", main=llm(judge.url)))
        options = ("--config", config, "--drain-s", "0", "--grace-s", "0")
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: judge.in_flight == 4)
                process.send(signal.SIGTERM)
                answer = await asking
            assert await process.ended() == 0
    assert (answer.status_code, answer.json()["code"]) == (503, "draining")
    assert answer.json()["retryable"] is True
    assert process.logged("request")[-1]["status"] == 503


async def test_requests_that_come_while_it_drains_are_answered(tmp_path: Path) -> None:
    with running("--drain-s", "600", cwd=tmp_path) as process:
        async with process.client() as http:
            await drain(process, http)
            answer = await http.post("/rank", json=group("5", "6", **REFERENCE))
            assert answer.status_code == 200
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_second_signal_stops_it_without_waiting(tmp_path: Path) -> None:
    with running("--drain-s", "600", cwd=tmp_path) as process:
        async with process.client() as http:
            await drain(process, http)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


# The judges file


async def judge_names(http: httpx.AsyncClient) -> set[str]:
    return {judge["name"] for judge in (await http.get("/judges")).json()["judges"]}


CHECKS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 9}]}


async def test_a_judges_file_that_changes_is_read_again_and_a_bad_one_is_refused(
    tmp_path: Path,
) -> None:
    config = judges_file(tmp_path / "judges.yaml", old=CHECKS)
    with running("--config", str(config), cwd=tmp_path) as process:
        async with process.client() as http:
            assert await judge_names(http) == {"old"}

            bad = tmp_path / "bad.yaml"
            bad.write_text("default_judge: x\njudges:\n  x: {kind: checks, criterias: []}\n")
            bad.replace(config)  # at once: half of it would be refused, too
            await until(lambda: bool(process.logged("config_refused")))
            assert await judge_names(http) == {"old"}
            [refused] = process.logged("config_refused")
            assert refused["level"] == "error"
            assert f"{config}:3: judges.x" in refused["detail"]

            judges_file(config, new=CHECKS)
            await until(lambda: bool(process.logged("config_loaded")))
            assert await judge_names(http) == {"new"}
            answer = await http.post("/rank", json=group("5", "6"))
            assert answer.json()["judge"] == "new"


async def test_a_changed_judges_file_drops_no_request(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=GOOD, hold=1000).serving() as old,
        ScriptedJudge(always=GOOD).serving() as new,
    ):
        config = judges_file(tmp_path / "judges.yaml", main=llm(old.url))
        with running("--config", str(config), cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: old.in_flight == 4)
                judges_file(config, main=llm(new.url, model="n"))
                await until(lambda: bool(process.logged("config_loaded")))
                answer = await http.post("/rank", json=group("5", "five"))
                assert answer.json()["model"] == "n"
                assert not asking.done()
                old.hold = 0
                assert (await asking).json()["model"] == "m"


async def test_a_judge_that_a_reload_replaced_answers_who_waits_for_it_and_is_then_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_long(max_connections: int, keepalive_s: float) -> Any:
        return guarded_transport(max_connections, keepalive_s=600)

    monkeypatch.setattr(chat_client, "guarded_transport", for_long)  # else they go after 4 s
    async with (
        ScriptedJudge(always=GOOD, hold=1000).serving() as old,
        ScriptedJudge().serving() as new,
        service(tmp_path, main=llm(old.url)) as opened,
    ):
        rank, asked = opened.ranker.rank, request("5", "five")
        leaver = asyncio.create_task(rank(asked))
        await until(lambda: old.in_flight == 4)
        judges_file(tmp_path / "judges.yaml", main=llm(new.url))
        opened.ranker.judges.reload()
        stayer = asyncio.create_task(rank(asked))  # knows the new one, waits for the old one
        runs = opened.ranker._llm_ranker._runs._runs
        await until(lambda: [run.num_callers for run in runs.values()] == [2])
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        del leaver  # its error holds all that it used
        assert old.connected == 4
        old.hold = 0
        assert (await stayer).results[1].reward == 1
        await until(lambda: old.connected == 0)
    assert (old.calls, new.calls) == (4, 0)


BAD_FILES = {
    "not YAML": b"judges: [",
    "not UTF-8": b"judges: \xff",
    "empty": b"",
    "a list": b"- a",
    "a control character": b"default_judge: \x07",
    "a key twice": b"default_judge: old\ndefault_judge: old\n",
    "a date that does not exist": b"default_judge: old\njudges: {old: {model: 2026-13-45}}",
    "an anchor that holds itself": b"default_judge: old\njudges: &judges {old: *judges}",
    "a tag": b"default_judge: !!python/object:os.system x",
    "a key that is a list": b"{[a]: b}",
    "deep nesting": b"default_judge: " + b"[" * 5000,
    "a default that is not there": b"default_judge: x\njudges: {old: {kind: checks}}",
    "an environment variable that is not set": (
        b"default_judge: old\n"
        b"judges: {old: {model: m, base_urls: ['http://x/v1'], api_key_env: PODIUM_NOWHERE}}"
    ),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
async def test_no_judges_file_breaks_a_running_service(content: bytes, tmp_path: Path) -> None:
    config = judges_file(tmp_path / "judges.yaml", old=CHECKS)
    judges = JudgeRegistry(config, Metrics())
    before = judges.roster
    config.write_bytes(content)
    with capture_logs() as logged:
        judges.reload()
    assert judges.roster is before
    [line] = logged
    assert line["event"] == "config_refused"
    assert str(config) in line["detail"]
    assert "\n" not in line["detail"]


async def test_a_judges_file_that_is_deleted_leaves_the_judges_as_they_were(
    tmp_path: Path,
) -> None:
    config = judges_file(tmp_path / "judges.yaml", old=CHECKS)
    judges = JudgeRegistry(config, Metrics())
    config.unlink()
    with capture_logs() as logged:
        judges.reload()
    assert list(judges.roster.config.judges) == ["old"]
    assert [line["event"] for line in logged] == ["config_refused"]


# Who may listen where


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.0.2.1", "example.org", "localhost.example.org", "0"]
)
def test_beyond_loopback_nothing_listens_without_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="set PODIUM_API_KEY"):
        require_key_beyond_loopback(host, has_key=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_loopback_a_key_is_enough(host: str) -> None:
    require_key_beyond_loopback(host, has_key=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_no_key_is_needed(host: str) -> None:
    require_key_beyond_loopback(host, has_key=False)


def test_serve_refuses_an_open_host_without_a_key_in_one_line(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "podium_service", "serve", "--host", "0.0.0.0", "--port", "0",
         "--store", str(tmp_path / "podium.db")],
        capture_output=True, text=True, check=False, timeout=60, env={"PODIUM_API_KEY": ""},
    )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stdout == ""
    [line] = finished.stderr.splitlines()
    assert "host 0.0.0.0" in line
    assert "PODIUM_API_KEY" in line


async def test_serve_says_in_one_line_that_its_port_is_taken(tmp_path: Path) -> None:
    with running(cwd=tmp_path) as first:
        assert first.url
        port = first.url.rsplit(":", 1)[1]
        second = await podium("serve", "--port", port, "--store", "other.db", cwd=tmp_path)
    assert second.code == 1
    [line] = [line for line in second.err.splitlines() if '"level": "info"' not in line]
    assert port in line


async def test_a_key_that_was_read_from_a_file_counts_without_its_newline(tmp_path: Path) -> None:
    with running(cwd=tmp_path, PODIUM_API_KEY="podium-secret\n") as process:
        async with process.client(authorization="Bearer podium-secret") as http:
            assert (await http.get("/judges")).status_code == 200


# The log


def quotes(status: int = 200, body: str | None = None) -> Step:
    """An endpoint that repeats what it was sent, the trajectories and the key."""

    def step(asked: Asked) -> Answer:
        said = f"{MARKER} {asked.headers['authorization']}"
        assert MARKER in asked.text
        return Answer({"error": {"message": f"{body or ''} {said}", "code": "e"}}, status)

    return step


async def test_no_line_of_the_log_holds_a_key_or_the_text_of_a_trajectory(tmp_path: Path) -> None:
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
                told = ""
                for name in judges:
                    asked = group(f"5 {MARKER}", f"five {MARKER}", judge=name, task=MARKER)
                    answer = await http.post("/rank", json=asked)
                    assert answer.is_success is (name == "good"), name
                    told += answer.text
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
    assert "sk-judge-secret" not in told
    requests = [line for line in logs if line["event"] == "request"]
    assert len({line["request_id"] for line in requests}) == len(requests)


async def test_a_request_id_is_on_every_line_of_its_request(tmp_path: Path) -> None:
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
