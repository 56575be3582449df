"""The judges that a registry holds when its file becomes bad or is deleted."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from podium_service.judges.registry import JudgeRegistry
from podium_service.telemetry.metrics import Metrics
from tests.service.helpers import judges_file

pytestmark = pytest.mark.anyio
CHECKS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 9}]}

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
    assert all(fault.startswith(f"{config}:") for fault in line["detail"].splitlines())


async def test_a_deleted_judges_file_changes_no_judge(
    tmp_path: Path,
) -> None:
    config = judges_file(tmp_path / "judges.yaml", old=CHECKS)
    judges = JudgeRegistry(config, Metrics())
    config.unlink()
    with capture_logs() as logged:
        judges.reload()
    assert list(judges.roster.config.judges) == ["old"]
    assert [line["event"] for line in logged] == ["config_refused"]
