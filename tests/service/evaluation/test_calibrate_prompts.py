"""`podium calibrate --prompts`: both prompts are tried, and the judge's card chooses."""

import json
from pathlib import Path
from typing import Any

import pytest

from podium_service.cli.commands.calibrate import calibrate_command
from podium_service.errors import ConfigError
from podium_service.evaluation.advice.prompts import PromptTrial, choose_prompt
from podium_service.judges.judges_file import load
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.wording import Style
from podium_service.scoring.bootstrap import Measure
from tests.fakes import ScriptedJudge, Step, by_length, fails, scores
from tests.service.evaluation.helpers import labelled, run_command, write_lines
from tests.service.helpers import judges_file, llm

pytestmark = pytest.mark.anyio

GROUPS = [
    labelled("w" * size, "w" * 40, labels=[1, 0], group_id=str(size)) for size in range(50, 56)
]
BY_LENGTH, TIES = scores(by_length), scores(lambda _: 0.5)


def is_long(asked: Any) -> bool:
    return "Rubric:" in json.dumps(asked.body["messages"])


def knows_under(prompt: str, otherwise: Step) -> Step:
    """Know the better attempt under one prompt only."""
    return lambda asked: (BY_LENGTH if is_long(asked) == (prompt == "long") else otherwise)(asked)


async def calibrate(tmp_path: Path, always: Step, **judge: Any) -> Any:
    async with ScriptedJudge(always=always).serving() as server:
        config = judges_file(tmp_path / "judges.yaml", main=llm(server.url, passes=1, **judge))
        data = write_lines(tmp_path / "groups.jsonl", *GROUPS)
        return await run_command(
            calibrate_command, "--judge", "main", "--data", data, "--config", config, "--prompts",
            "--json", "--store", tmp_path / "podium.db", "--out", tmp_path / "cards",
        )  # fmt: skip


def prompt_of_judge(tmp_path: Path, **judge: Any) -> str:
    config = judges_file(tmp_path / "later.yaml", main=llm("http://127.0.0.1:1/v1", **judge))
    main = load(config).judges["main"]
    assert isinstance(main, LLMJudge)
    return main.style_for("listwise")


@pytest.mark.parametrize("prompt", ["long", "short"])
async def test_the_prompt_that_is_answered_better_is_chosen(tmp_path: Path, prompt: str) -> None:
    """Six groups: one prompt finds all (AUC 1), the other ties all (.5)."""
    result = await calibrate(tmp_path, knows_under(prompt, TIES))
    assert result.exit_code == 0, result.output
    card = json.loads(result.stdout)
    assert card["best_prompt"] == prompt
    assert {each["prompt"]: each["auc"]["value"] for each in card["prompts"]} == {
        "long": 1.0 if prompt == "long" else 0.5,
        "short": 1.0 if prompt == "short" else 0.5,
    }
    assert card["agreement"]["auc"]["reward"]["value"] == 1.0  # the card is of the better prompt
    assert card["settings"]["prompt"] == prompt
    page = (tmp_path / "cards" / "main.html").read_text()
    assert f"{prompt} (chosen)" in page
    written = str(tmp_path / "cards" / "main.json")
    other = "short" if prompt == "long" else "long"
    assert prompt_of_judge(tmp_path, card=written) == prompt
    assert prompt_of_judge(tmp_path, card=written, prompt=other) == other


def trial(prompt: Style, ahead: float, low: float, tokens: float) -> PromptTrial:
    auc, difference = Measure(0.8, 0.7, 0.9, 20), Measure(ahead, low, ahead + 0.1, 20)
    return PromptTrial(prompt, auc, difference, Measure(tokens, None, None, 20))


@pytest.mark.parametrize(("low", "best"), [(0.01, "long"), (0.0, "short"), (-0.1, "short")])
def test_only_a_clear_lead_beats_the_cheaper_prompt(low: float, best: Style) -> None:
    trials = [trial("long", 0.05, low, 900), trial("short", -0.05, -0.15, 90)]
    assert choose_prompt(trials) == choose_prompt(trials[::-1]) == best


async def test_a_prompt_that_gets_no_verdict_is_not_chosen(tmp_path: Path) -> None:
    card = json.loads((await calibrate(tmp_path, knows_under("long", fails(400)))).stdout)
    assert card["best_prompt"] == "long"


async def test_no_verdict_under_either_prompt_is_the_error(tmp_path: Path) -> None:
    result = await calibrate(tmp_path, fails(400))
    assert "ranked none of 6 groups" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "cannot be read"),
        ("{", "no JSON"),
        ("[]", "chooses no prompt"),
        ('{"best_prompt": null}', "--prompts"),
        ('{"best_prompt": "short", "model": "another"}', "card of 'another'"),
    ],
)
def test_a_card_that_cannot_choose_is_refused(tmp_path: Path, text: str | None, rule: str) -> None:
    if text is not None:
        (tmp_path / "card.json").write_text(text)
    with pytest.raises(ConfigError, match=r"main\.card") as error:
        prompt_of_judge(tmp_path, card=str(tmp_path / "card.json"))
    assert rule in str(error.value)
