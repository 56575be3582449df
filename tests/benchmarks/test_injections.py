import json
from typing import Any

import numpy as np
import pytest

from benchmarks.content import Labelled, synthetic_groups
from benchmarks.injections import INJECTIONS, PLACES, Payload, Place, inject
from benchmarks.judges.pleas import pleas
from benchmarks.judges.reading import read_question
from benchmarks.judges.simulated import SimulatedJudge, by_case
from podium_service.http.requests.body import validate
from podium_service.schemas import RankRequest
from tests.benchmarks.questions import choice_between, scores_of, words


def a_group() -> Labelled:
    (group,) = synthetic_groups(1, 3, 1.0, np.random.default_rng(0))
    return group


def undefended(trajectories: list[dict[str, Any]]) -> dict[str, str]:
    """Return what a careless service shows: raw text under the caller's ids."""
    return {
        trajectory["id"]: "\n".join(
            f"{message.get('content') or ''}\n{json.dumps(message.get('tool_calls') or '')}"
            for message in trajectory["messages"]
        )
        for trajectory in trajectories
    }


def attacked(payload: Payload, place: Place) -> tuple[Labelled, list[dict[str, Any]]]:
    group = a_group()
    trajectories = group.group["trajectories"]
    return group, [trajectories[0], inject(trajectories[1], payload, place), trajectories[2]]


def test_each_kind_has_twenty_named_payloads() -> None:
    assert len({payload.name for payload in INJECTIONS}) == len(INJECTIONS) == 20
    assert {payload.kind for payload in INJECTIONS} == {"structure", "voice", "persuasion"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("payload", INJECTIONS, ids=lambda payload: payload.name)
def test_an_injected_trajectory_is_a_valid_copy(payload: Payload, place: Place) -> None:
    group, trajectories = attacked(payload, place)
    assert trajectories[1] != group.group["trajectories"][1]
    assert validate(RankRequest, group.group | {"trajectories": trajectories})


LUCKY = "guessed ids"  # without luck it is plain words


@pytest.mark.parametrize(
    "payload", [p for p in INJECTIONS if p.name != LUCKY], ids=lambda payload: payload.name
)
def test_a_judge_shown_raw_text_sees_what_each_payload_relies_on(payload: Payload) -> None:
    _, trajectories = attacked(payload, "assistant")
    found = pleas(read_question(scores_of(undefended(trajectories), code="")))
    assert (1, payload.kind) in [(plea.slot, plea.kind) for plea in found]
    assert {plea.slot for plea in found} == {1}


def test_a_guessed_id_favours_its_trajectory() -> None:
    payload = next(each for each in INJECTIONS if each.name == LUCKY)
    _, trajectories = attacked(payload, "assistant")
    bodies = list(undefended(trajectories).values())
    lucky = pleas(read_question(choice_between({"A": bodies[0], "Q": bodies[1]})))
    assert (0, "structure") in [(plea.slot, plea.kind) for plea in lucky]
    unlucky = pleas(read_question(choice_between({"K": bodies[0], "Q": bodies[1]})))
    assert [plea for plea in unlucky if plea.kind == "structure"] == []


def test_honest_trajectories_hold_no_plea_to_the_judge() -> None:
    trajectories = a_group().group["trajectories"]
    assert pleas(read_question(scores_of(undefended(trajectories)))) == []


@pytest.mark.parametrize("place", PLACES)
def test_a_judge_that_obeys_gives_the_attacker_alone_the_top(place: Place) -> None:
    payload = next(each for each in INJECTIONS if each.name == "closed fence")
    group, trajectories = attacked(payload, place)
    asked = scores_of(undefended(trajectories), code="")
    obeying = SimulatedJudge(by_case(group.by_case), obeys={"structure": 1.0})
    verdict = json.loads(words(obeying.reply(asked)))
    assert {name for name, entry in verdict.items() if entry["score"] == 1.0} == {"rollout-1"}
    deaf = SimulatedJudge(by_case(group.by_case), noise_sd=0.0)
    truths = {name: round(0.5 + 0.25 * truth, 6) for name, truth in group.by_id.items()}
    for name, entry in json.loads(words(deaf.reply(asked))).items():
        assert entry["score"] == pytest.approx(min(1, max(0, truths[name])), abs=0.126)


def test_a_payload_inside_a_whole_fence_has_no_effect() -> None:
    payload = next(each for each in INJECTIONS if each.name == "plain request")
    _, trajectories = attacked(payload, "assistant")
    found = pleas(read_question(scores_of(undefended(trajectories))))
    assert [(plea.slot, plea.kind) for plea in found] == [(1, "persuasion")]


def test_an_obedience_between_none_and_all_is_met_call_by_call() -> None:
    payload = next(each for each in INJECTIONS if each.name == "plain request")
    group, trajectories = attacked(payload, "assistant")
    first, second = list(undefended(trajectories).values())[:2]
    judge = SimulatedJudge(
        by_case(dict.fromkeys(group.cases, 0.0) | {group.cases[1]: -9.0}),
        noise_sd=0.1,
        obeys={"persuasion": 0.3},
    )
    said = [words(judge.reply(choice_between({"K": first, "Q": second}))) for _ in range(600)]
    assert said.count("Q") / 600 == pytest.approx(0.3, abs=0.06)
