"""`PodiumMixin` on an environment of Atropos."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from atroposlib.envs.base import BaseEnv

from podium.integrations.atropos import PodiumMixin
from tests.fakes import fails
from tests.integrations.pages import run_script
from tests.integrations.servers import StartJudge, StartPodium

pytestmark = pytest.mark.anyio


class Env(PodiumMixin, BaseEnv):  # type: ignore[misc]
    """An environment that plays one group, and keeps what it would send or log."""

    def __init__(self, url: str, *answers: str, **extra: Any) -> None:
        # The base's __init__ starts clients of inference servers.
        self.podium_url = url
        self.group = group(*answers) | extra
        self.running_items = {"id": {"item": "2 + 2 ="}}
        self.task_duration: list[float] = []
        self.succeeded_task_duration: list[float] = []
        self.failed_task_duration: list[float] = []
        self.task_successful: list[int] = []
        self.backlog: list[Any] = []
        self.sent: list[Any] = []

    async def collect_trajectories(self, item: Any) -> Any:
        return self.group, []

    async def handle_send_to_api(self, scored_data: Any, item: Any = None, **_: Any) -> None:
        self.sent.append(scored_data)

    async def get_next_item(self) -> Any:
        return None

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        return None


Env.__abstractmethods__ = frozenset()


def group(*answers: str) -> dict[str, Any]:
    prompt = {"role": "user", "content": "2 + 2 ="}
    chats = [[prompt, {"role": "assistant", "content": answer}] for answer in answers]
    numbers = [[1, 2] for _ in answers]
    return {"tokens": numbers, "masks": numbers, "scores": [9.0] * len(answers), "messages": chats}


async def test_the_scores_of_a_group_are_rewards(checks_url: str) -> None:
    env = Env(checks_url, "5", "4", podium_reference="4", podium_anchor="4")
    await env.handle_env("id")
    [sent] = env.sent
    assert sent["scores"] == [0.0, pytest.approx(sent["scores"][1])]
    assert sent["scores"][1] > 0.5
    assert sent["tokens"] == [[1, 2], [1, 2]]
    assert not [name for name in sent if name.startswith("podium")]
    assert env.task_successful == [1]


async def test_a_failed_group_is_dropped(
    start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(fails(400, "no"))
    env = Env(start_podium(main=judge.settings()).url, "5", "4")
    await env.handle_env("id")
    assert (env.sent, env.task_successful) == ([], [0])
    groups = await env.postprocess_histories([group("5", "4"), None])
    assert groups is None


@pytest.mark.parametrize(
    ("changes", "words"), [({"podium_judge": "mian"}, "mian"), ({"messages": None}, "messages")]
)
def test_a_hopeless_fault_ends_the_process(
    checks_url: str, changes: dict[str, Any], words: str
) -> None:
    env = Env(checks_url, "5", "4", podium_reference="4", **changes)
    env.podium_judge = env.group.pop("podium_judge", None)
    with pytest.raises(SystemExit, match=words):
        asyncio.run(env.handle_env("id"))


async def test_metrics_are_logged_once(checks_url: str) -> None:
    logged: list[Any] = []

    class Base:
        async def wandb_log(self, wandb_metrics: Any = None) -> None:
            logged.append(wandb_metrics)

    class Logging(PodiumMixin, Base):
        podium_url = checks_url

    env = Logging()
    await env.postprocess_histories(group("5", "4") | {"podium_reference": "4"})
    await env.wandb_log({"a": 1})
    await env.wandb_log()
    assert logged[0]["train/podium/groups_ranked"] == 1
    assert logged[0]["a"] == 1
    assert logged[1] == {}


def test_the_script_of_the_page_runs(checks_url: str, tmp_path: Path) -> None:
    said = run_script("atropos.md", tmp_path, PODIUM_URL=checks_url)
    assert said[-1:] == ["[0.0, 1.0]"], said
