import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from benchmarks.judges.recorded import RecordedJudge, pair_groups
from benchmarks.judges.server import serving, serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from podium_service.prompts.templates import build_prompt
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.verdict import parse_verdict
from podium_service.prompts.wording import Style
from tests.benchmarks.questions import choice_between, scores_of, words

STYLES: tuple[Style, ...] = ("long", "short")
TRUTH = {"0123456789ab": 1.0, "ba9876543210": -1.0}
SHOWN = {"BBBBB": "case 0123456789ab", "CCCCC": "case ba9876543210"}


def score_of(completion: Mapping[str, Any]) -> list[float]:
    return [entry["score"] for entry in json.loads(words(completion)).values()]


@pytest.mark.anyio
async def test_judges_answer_over_http_each_under_its_own_url() -> None:
    judges = {
        "sharp": SimulatedJudge(by_case(TRUTH), noise_sd=0.0),
        "broken": SimulatedJudge(by_case(TRUTH), malformed_rate=1.0),
    }
    async with serving(judges) as base_urls, httpx.AsyncClient(trust_env=False) as client:
        said = {}
        for name, url in base_urls.items():
            answer = await client.post(f"{url}/chat/completions", json=scores_of(SHOWN))
            said[name] = answer.json()
            (model,) = (await client.get(f"{url}/models")).json()["data"]
            assert (model["id"], model["max_model_len"]) == (name, 131_072)
        unread = await client.post(f"{base_urls['sharp']}/chat/completions", content=b"{")
        unshown = await client.post(
            f"{base_urls['sharp']}/chat/completions", json=scores_of({"BBBBB": "who?"})
        )
    assert score_of(said["sharp"]) == [0.75, 0.25]
    assert not words(said["broken"]).startswith("{")
    assert (unread.status_code, unshown.status_code) == (400, 400)


@pytest.mark.parametrize("canary", [None, "I did nothing."])
def test_the_service_reads_a_simulated_reply_to_its_prompt(canary: str | None) -> None:
    simulated = SimulatedJudge(by_case(TRUTH), noise_sd=0.0)
    transcript = Transcript("<task>\nx\n</task>", list(SHOWN.values()), ["d1", "d2"], [[0], [1]])
    prompt = build_prompt("scores", "long", "Be fair.", transcript, [1, 0], canary)
    said = words(simulated.reply({"messages": prompt.chat()}))
    order = [1, 0, 2] if canary else [1, 0]
    assert parse_verdict(said, prompt.shown_ids, order).by_body()[:2] == [0.75, 0.25]


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_every_question_of_the_service_is_understood(style: Style, is_plain: bool) -> None:
    simulated = SimulatedJudge(by_case(TRUTH), noise_sd=0.0)
    transcript = Transcript("", list(SHOWN.values()), ["d1", "d2"], [[0], [1]], is_plain=is_plain)

    def ask(form: str, order: list[int]) -> tuple[str, list[str]]:
        prompt = build_prompt(form, style, "", transcript, order)
        return words(simulated.reply({"messages": prompt.chat()})), prompt.ids

    for form in ("choice", "best"):
        said, ids = ask(form, [1, 0])
        assert said == ids[1]
    assert ask("rating", [0])[0] == "7"
    assert [ask("yes_no", [0])[0], ask("yes_no", [1])[0]] == ["yes", "no"]


def test_a_process_of_its_own_gives_the_same_answers() -> None:
    simulated = SimulatedJudge(by_case(TRUTH), seed=3, grid=0.05)
    with serving_apart({"sim": simulated}, TRUTH) as base_urls:
        url = f"{base_urls['sim']}/chat/completions"
        with httpx.Client(trust_env=False) as client:
            apart = [score_of(client.post(url, json=scores_of(SHOWN)).json()) for _ in range(3)]
    assert apart == [score_of(simulated.reply(scores_of(SHOWN))) for _ in range(3)]


def recorded_judge(folder: Path, winner_12: str, winner_21: str) -> tuple[RecordedJudge, list[str]]:
    pair = {"subset": "Natural", "idx": 4, "input": "Say hi.", "label": 1}
    path = folder / "pairs.jsonl"
    path.write_bytes(orjson.dumps({**pair, "output_1": "hi", "output_2": "ho"}) + b"\n")
    (group,) = pair_groups(path)
    row = {"subset": "Natural", "idx": "4", "judge": "J", "method": "V", "label": "1"}
    rows = [{**row, "winner_order12": winner_12, "winner_order21": winner_21}]
    bodies = [t["messages"][1]["content"] for t in group.group["trajectories"]]
    return RecordedJudge([group], rows, "J", "V"), bodies


def test_a_recorded_judge_repeats_what_it_said_in_each_order(tmp_path: Path) -> None:
    judge, (one, two) = recorded_judge(tmp_path, "1", "2")
    assert words(judge.reply(choice_between({"K": one, "Q": two}))) == "K"
    assert words(judge.reply(choice_between({"K": two, "Q": one}))) == "K"
    assert score_of(judge.reply(scores_of({"BBBBB": two, "CCCCC": one}))) == [1.0, 0.0]
    assert judge.covered == {"llmbar/Natural/4"}


def test_a_recorded_judge_without_a_winner_is_unusable(tmp_path: Path) -> None:
    judge, (one, two) = recorded_judge(tmp_path, "None", "2")
    assert len(words(judge.reply(choice_between({"K": one, "Q": two})))) > 1
