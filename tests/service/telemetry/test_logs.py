"""The log: a line that cannot be written is dropped, and no line quotes a text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import ScriptedJudge, by_length, fails, later, scores
from tests.service.helpers import group, judges_file, llm
from tests.service.process import running

pytestmark = pytest.mark.anyio

LOGGING = """
import structlog
from podium_service.telemetry import logs
logs.configure("info")
structlog.get_logger().info("spoken")
print("alive")
"""


def test_a_line_that_cannot_be_written_is_dropped() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        [sys.executable, "-c", LOGGING], stdout=subprocess.PIPE, stderr=writer, check=False
    )
    os.close(writer)
    assert finished.stdout == b"alive\n"


async def test_no_line_quotes_a_caller_or_a_judge(tmp_path: Path) -> None:
    slow = later(scores(by_length), 60)
    async with ScriptedJudge([fails(401, "you said: canary"), slow]).serving() as judge:
        main, other = llm(judge.url, passes=1, fallback=["other"]), llm(judge.url, passes=1)
        config = str(judges_file(tmp_path / "judges.yaml", main=main, other=other))
        with running("--config", config, cwd=tmp_path) as process:
            async with process.client() as http:
                for body in (
                    group("5", "6", canary=1),
                    group("5", "6", judge="canary"),
                    group("5", "6 canary", deadline_s=3),
                ):
                    answer = await http.post("/rank", json=body)
                    assert "canary" in answer.text
                await http.get("/rankings/canary")
                await http.get("/canary?canary=canary")
                await http.post("/rank", content="{}", headers={"content-type": "canary"})
            codes = [line["code"] for line in process.logged("problem")]
            assert codes == [
                "invalid_request", "unknown_judge", "deadline_exceeded", "not_found",
                "unsupported_media_type",
            ]  # fmt: skip
            assert "canary" not in process.err
