"""The commands and examples of the pages in docs/ work."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from podium_service.judges.judges_file import parse
from podium_service.schemas import Message, Ranking, RankRequest, Trajectory, TrajectoryResult
from podium_service.telemetry.metrics import Metrics
from podium_trainer.config import TrainConfig
from tests.docs.blocks import ROOT, blocks, run_blocks

DOCS = ROOT / "docs"
RUN = ("bash", "python")


@pytest.mark.demo
def test_the_judge_quickstart_runs_from_top_to_bottom(tmp_path: Path, judge_url: str) -> None:
    said = run_blocks(
        [each for each in blocks(DOCS / "quickstart-judge.md") if each.language in RUN],
        tmp_path,
        replaced={"https://api.openai.com/v1": judge_url},  # a scripted judge
        environment={},
    )
    words = " ".join(said.split())
    assert words.count("reliability 1.00 · 2 judge calls") == 5  # four tables, and a replayed one
    assert "score and slot in each pass" in said
    assert "m-1" in said  # the model that the scripted judge names
    assert "$0.0" in said


@pytest.mark.demo
def test_the_trainer_quickstart_runs_from_top_to_bottom(tmp_path: Path, free_port: int) -> None:
    said = run_blocks(
        [each for each in blocks(DOCS / "quickstart-trainer.md") if each.language in RUN],
        tmp_path,
        replaced={"127.0.0.1:8000": f"127.0.0.1:{free_port}"},
        environment={"PODIUM_PORT": str(free_port)},
    )
    assert "[1.0, 0.25, 0.25]" in said
    assert said.count('"status":"ranked"') == 2


@pytest.mark.demo
def test_the_commands_of_the_operations_page_run(tmp_path: Path) -> None:
    said = run_blocks(
        [each for each in blocks(DOCS / "operations.md") if each.language in RUN],
        tmp_path,
        replaced={},
        environment={},
    )
    assert "trainer-7" in said
    assert (tmp_path / "backup.db").stat().st_size > 0


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_yaml_example_is_a_valid_judges_file_or_recipe(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    for block in blocks(page):
        if block.language == "yaml":
            if "judges:" in block.text:
                parse(block.text, page.name)
            else:
                TrainConfig.model_validate(yaml.safe_load(block.text))


@pytest.mark.parametrize(
    ("model", "unnamed"),
    [
        (RankRequest, set()),
        (Trajectory, set()),
        (Message, set()),
        (Ranking, {"group_id"}),  # named among the fields of a group
        (TrajectoryResult, {"id"}),
    ],
)
def test_the_formats_page_names_every_field_of_the_wire(
    model: type[BaseModel], unnamed: set[str]
) -> None:
    text = (DOCS / "formats.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(\w+)`", rows))
    assert model.model_fields.keys() - named <= unnamed


def test_the_monitoring_page_names_every_series_and_no_other() -> None:
    text = (DOCS / "monitoring.md").read_text(encoding="utf-8").split("## Metrics")[1]
    rows = text.split("What to watch first")[0]
    named = set(re.findall(r"^\| `(\w+)`", rows, re.MULTILINE))
    families = Metrics().registry.collect()
    endings = {"counter": "_total"}
    assert named == {
        each.name.removeprefix("podium_") + endings.get(each.type, "") for each in families
    }
