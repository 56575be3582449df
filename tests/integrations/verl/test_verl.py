"""`PodiumRewardManager` in the reward workers of verl, which share groups."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from tensordict import TensorDict
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

from podium.errors import NothingRanked, RequestRefused
from tests.fakes import by_length, fails, scores
from tests.integrations.servers import StartJudge, StartPodium

PAGE = Path(__file__).parents[3] / "docs/integrations/verl.md"
CHARS = [chr(code) for code in range(32, 127)]


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """Return the folder of a tokenizer with a token for each character."""
    vocabulary = {char: index for index, char in enumerate([*CHARS, "<eos>"])}
    fast = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    fast.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast.decoder = decoders.Fuse()
    folder = tmp_path / "tokenizer"
    made: Any = PreTrainedTokenizerFast
    made(tokenizer_object=fast, eos_token="<eos>").save_pretrained(folder)
    return str(folder)


def documented() -> list[str]:
    """Return the overrides of the page, as it has them."""
    found = re.search(r"main_ppo \.\.\. (.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return shlex.split(found[1].replace("\\\n", " "))


def configure(tokenizer: str, *more: str) -> DictConfig:
    overrides = [*documented(), f"actor_rollout_ref.model.path={tokenizer}", *more]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides)


def sample(text: str, uid: str, split: str = "train") -> DataProto:
    """Return a finished sample, as verl's agent loop hands it to a reward worker."""
    response = torch.tensor([[CHARS.index(char) for char in text]])
    prompt = torch.tensor([[CHARS.index(char) for char in "2 + 3?"]])
    ids = torch.cat([prompt, response], dim=1)
    batch = {
        "prompts": prompt, "responses": response, "input_ids": ids,
        "attention_mask": torch.ones_like(ids), "position_ids": torch.arange(ids.shape[1])[None],
    }  # fmt: skip
    about: dict[str, Any] = {
        "uid": uid,
        "raw_prompt": [{"role": "user", "content": "2 + 3?"}],
        "reward_model": {"style": "rule", "ground_truth": "5"},
        "extra_info": {"split": split, "index": 0},
        "data_source": "addition",
    }
    arrays = {name: np.empty(1, dtype=object) for name in about}
    for name, value in about.items():
        arrays[name][0] = value
    return DataProto(batch=TensorDict(batch, batch_size=1), non_tensor_batch=arrays)


def reward_all(
    config: DictConfig, samples: list[DataProto], num_workers: int = 2
) -> list[dict[str, Any]]:
    """Hand samples to reward workers in turn, all at once, and return their answers."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def ask() -> list[dict[str, Any]]:
        workers = [RewardLoopWorker(config) for _ in range(num_workers)]
        asked = (workers[n % num_workers].compute_score(each) for n, each in enumerate(samples))
        return list(await asyncio.gather(*asked))

    try:
        return loop.run_until_complete(ask())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_two_workers_share_groups(
    tokenizer: str, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    """Two groups of eight, their members in turn on two workers, in mixed order."""
    judge = start_judge(scores(by_length))
    podium = start_podium(main=judge.settings())
    config = configure(tokenizer, f"+reward.podium.url={podium.url}")
    texts = [(uid, uid[0] * (n + 1)) for n in range(8) for uid in ("one", "two")]
    answers = reward_all(config, [sample(text, uid) for uid, text in texts])
    assert judge.calls == 2
    for uid in ("one", "two"):
        rewards = [a["reward_score"] for (u, _), a in zip(texts, answers, strict=True) if u == uid]
        assert rewards == sorted(rewards)
        assert len(set(rewards)) == 8
    assert len({tuple(answer["reward_extra_info"]) for answer in answers}) == 1
    extra = [answer["reward_extra_info"] for answer in answers]
    assert sum(each["podium/judge_tokens"] for each in extra) == pytest.approx(2 * 110)


def test_a_failed_group_has_equal_rewards_and_says_so(
    tokenizer: str, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    podium = start_podium(main=start_judge(fails(401, "bad key")).settings())
    config = configure(tokenizer, f"+reward.podium.url={podium.url}")
    answers = reward_all(config, [sample("a" * (n + 1), "one") for n in range(8)])
    assert {answer["reward_score"] for answer in answers} == {0.0}
    assert {answer["reward_extra_info"]["podium/groups_failed"] for answer in answers} == {1.0}


def test_an_unknown_judge_stops_the_first_group(tokenizer: str, start_podium: StartPodium) -> None:
    podium = start_podium()
    config = configure(tokenizer, f"+reward.podium.url={podium.url}")
    with pytest.raises(RequestRefused, match="unknown_judge"):
        reward_all(config, [sample("a" * (n + 1), "one") for n in range(8)])


def test_validation_has_groups_of_its_own_size(
    tokenizer: str, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    podium = start_podium(main=start_judge(scores(by_length)).settings())
    url = f"+reward.podium.url={podium.url}"
    config = configure(tokenizer, url, "actor_rollout_ref.rollout.val_kwargs.n=2")
    answers = reward_all(config, [sample(text, "one", "test") for text in ("a", "bb")])
    worse, better = (answer["reward_score"] for answer in answers)
    assert worse == pytest.approx(1 - better)
    assert worse < 0.5
    unsaid = sample("a", "two")
    unsaid.non_tensor_batch["extra_info"][0] = {}
    with pytest.raises(ValueError, match=r"extra_info\.split"):
        reward_all(config, [unsaid])


def test_a_field_of_extra_info_is_the_anchor(
    tokenizer: str, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    judge = start_judge(scores(by_length))
    podium = start_podium(main=judge.settings())
    url = f"+reward.podium.url={podium.url}"
    config = configure(tokenizer, url, "+reward.podium.anchor=gold")
    samples = [sample("a" * (n + 1), "one") for n in range(8)]
    for each in samples:
        each.non_tensor_batch["extra_info"][0]["gold"] = "a" * 4
    extra = [answer["reward_extra_info"] for answer in reward_all(config, samples)]
    assert [each["podium/win_rate"] for each in extra] == [0, 0, 0, 0.5, 1, 1, 1, 1]
    assert sum(each["podium/judge_tokens"] for each in extra) == pytest.approx(110)
    with pytest.raises(ValueError, match=r"reward\.podium\.anchor is 'gold'"):
        reward_all(config, [sample("a", "two")])


def test_a_setting_that_does_not_exist_is_named(tokenizer: str) -> None:
    with pytest.raises(ValueError, match=r"reward\.podium\.jugde is no setting"):
        reward_all(configure(tokenizer, "+reward.podium.jugde=main"), [])


def test_an_outage_stops_the_run(
    tokenizer: str, start_podium: StartPodium, start_judge: StartJudge
) -> None:
    podium = start_podium(main=start_judge(fails(401, "bad key")).settings())
    config = configure(tokenizer, f"+reward.podium.url={podium.url}")
    config.actor_rollout_ref.rollout.n = config.actor_rollout_ref.rollout.val_kwargs.n = 2

    async def steps(worker: RewardLoopWorker) -> None:
        for step in range(3):
            members = [sample("a" * (n + 1), f"step-{step}") for n in range(2)]
            await asyncio.gather(*map(worker.compute_score, members))

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with pytest.raises(NothingRanked, match="3 batches"):
        loop.run_until_complete(steps(RewardLoopWorker(config)))
    loop.close()
