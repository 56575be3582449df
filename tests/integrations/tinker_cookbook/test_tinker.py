"""`PodiumGroupBuilder` in the group rollouts of the Tinker cookbook."""

import pickle
from pathlib import Path

import pytest
from tinker_cookbook.rl.rollouts import do_group_rollout

from podium import RequestRefused
from podium.integrations.tinker import PodiumGroupBuilder
from tests.fakes import by_length, fails, scores
from tests.integrations.pages import run_script
from tests.integrations.servers import StartJudge, StartPodium
from tests.integrations.tinker_cookbook.policy import Colons, Group, Says

pytestmark = pytest.mark.anyio


async def test_the_judges_rewards_are_added(checks_url: str) -> None:
    builder = PodiumGroupBuilder(Group(), Colons(), checks_url, reference="4", weight=2.0)
    rollouts = await do_group_rollout(builder, Says("5", "4"))
    assert rollouts.final_rewards_G == [0.0, 2.0]
    assert [each["podium/groups_ranked"] for each in rollouts.metrics_G] == [1.0, 1.0]
    assert builder.logging_tags() == ["sums"]


async def test_a_builder_pickles(checks_url: str) -> None:
    builder = PodiumGroupBuilder(Group(), Colons(), checks_url, reference="4")
    again = pickle.loads(pickle.dumps(builder))
    assert (await do_group_rollout(again, Says("5", "4"))).final_rewards_G == [0.0, 1.0]


async def test_an_anchor_is_ranked_and_not_trained_on(checks_url: str) -> None:
    builder = PodiumGroupBuilder(Group(), Colons(), checks_url, reference="4", anchor="4")
    rollouts = await do_group_rollout(builder, Says("5", "4"))
    assert len(rollouts.final_rewards_G) == 2
    assert rollouts.metrics_G[0]["podium/win_rate"] == 0.25  # 5 loses to it, 4 ties with it


async def test_all_turns_reach_the_judge(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(scores(by_length))
    url = start_podium(main=judge.settings()).url
    builder = PodiumGroupBuilder(Group("turns"), Colons(), url)
    await do_group_rollout(builder, Says("one", "two", "three", "five"))
    [asked] = judge.judge.asked
    for words in ("Think of a number.", "Double it.", "one", "two", "three", "five"):
        assert words in asked.text
    assert asked.text.count("Think of a number.") == 1  # the prompt is shown once
    assert "User:" not in asked.text


async def test_a_failed_group_raises(start_podium: StartPodium, start_judge: StartJudge) -> None:
    judge = start_judge(fails(400, "no"))
    url = start_podium(main=judge.settings()).url
    with pytest.raises(Exception, match="judge_rejected"):
        await do_group_rollout(PodiumGroupBuilder(Group(), Colons(), url), Says("5", "4"))


async def test_an_unknown_judge_is_named(checks_url: str) -> None:
    builder = PodiumGroupBuilder(Group(), Colons(), checks_url, judge="mian")
    with pytest.raises(RequestRefused, match="mian"):
        await do_group_rollout(builder, Says("5", "4"))


def test_the_script_of_the_page_runs(checks_url: str, tmp_path: Path) -> None:
    said = run_script("tinker.md", tmp_path, PODIUM_URL=checks_url)
    assert said[-1:] == ["[0.0, 1.0]"], said
