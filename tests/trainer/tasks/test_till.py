"""The till task and the guess game, played by a script."""

import pytest

from podium_trainer.tasks import open_task
from podium_trainer.tasks.task import Step
from tests.trainer.rollout.conftest import Play, play, tools
from tests.trainer.rollout.scripted_sampler import tool_results, write_call

__all__ = ["play", "tools"]


@pytest.mark.parametrize(
    ("scans", "answer", "reward"),
    [(["pear", "Plum"], "6", 1.0), (["pear", "plum"], "7", 0.0), (["pear", "pear"], "8", 0.0)],
)
def test_the_till_adds_up_for_each_attempt(
    play: Play, scans: list[str], answer: str, reward: float
) -> None:
    task = open_task("till", {})
    assert (len(task.train), len(task.held_out), task.max_turns) == (170, 20, 3)
    [prompt] = [p for p in (*task.train, *task.held_out) if p.id == "pear and plum"]
    assert prompt.reference == "6"
    script = [write_call("scan", item=item) for item in scans]
    assert task.environment is not None
    [[attempt]] = play(
        task.environment, *script, answer, prompts=[prompt], with_tools=task.tools, max_turns=3
    )
    assert tool_results(attempt)[2:] == ["4", "6" if answer != "8" else "8"]
    assert (attempt.environment_reward, attempt.finish_reason) == (reward, "stop")


def test_the_game_gives_hints_and_pays_early_guesses() -> None:
    task = open_task("guess", {"most": 9, "turns": 3})
    prompt = next(p for p in (*task.train, *task.held_out) if p.reference == "5")
    assert task.environment is not None
    game = task.environment()
    game.reset(prompt)
    assert [game.step({"content": said}) for said in ("7", "3 or 4", "5")] == [
        Step("Lower.", False),
        Step("Answer with one number alone.", False),
        Step("Right, it is 5.", True, 1 / 3),
    ]
