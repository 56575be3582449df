"""Reward verl by a judge that ranks each group: a reward manager for its reward loop.

    python -m verl.trainer.main_ppo ... algorithm.norm_adv_by_std_in_grpo=False \\
        reward.reward_manager.source=importlib reward.reward_manager.name=PodiumRewardManager \\
        reward.reward_manager.module.path=pkg://podium.integrations.verl +reward.podium.judge=main

verl hands each sample to one of its reward workers, at random, so the members of a group lie in
several processes. They meet in the service, by verl's `uid`. A group that failed gets equal
rewards, because verl cannot leave one out; `podium/groups_failed` tells it.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from podium.answers import GroupReward
from podium.client import DEFAULT_DEADLINE_S
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.bridge import DEFAULT_PATIENCE_S, BridgeClient
from podium.integrations.chat import as_text
from podium.integrations.outcome import (
    results_of,
    run_metadata,
    tell_page,
    warn_of_spread,
    win_rate,
)

_NO_REWARD = 0.0
_SETTINGS = {"url", "judge", "rubric", "anchor", "patience_s", "min_members", "deadline_s"}


class PodiumRewardManager(RewardManagerBase):  # type: ignore[misc]  # not there for mypy
    """A reward manager that gathers each group in a Podium service and returns its rewards.

    Settings are under `reward.podium` of verl's configuration, all optional: `url`, `judge`,
    `rubric`, `anchor`, `patience_s`, `min_members`, `deadline_s`; `anchor` is the field of
    `extra_info` with a fixed opponent's answer, against which `podium/win_rate` is. Without `url`,
    `PODIUM_URL` counts in the environment of the Ray workers; `PODIUM_API_KEY` is the key.

    Raises:
        ValueError: If a setting is unknown.
    """

    def __init__(
        self, config: Any, tokenizer: Any, compute_score: Any = None, **_of_other_managers: Any
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        settings = dict(config.reward.get("podium") or {})
        if unknown := sorted(settings.keys() - _SETTINGS):
            known = ", ".join(sorted(_SETTINGS))
            raise ValueError(f"reward.podium.{unknown[0]} is no setting: use {known}")
        self._client = BridgeClient(settings.pop("url", None))
        self._asked = {name: settings.pop(name, None) for name in ("judge", "rubric")}
        self._anchor: str | None = settings.get("anchor")
        self._waits = {
            "min_members": settings.get("min_members"),
            "patience_s": settings.get("patience_s", DEFAULT_PATIENCE_S),
            "deadline_s": settings.get("deadline_s", DEFAULT_DEADLINE_S),
        }
        rollout = config.actor_rollout_ref.rollout
        self._sizes = {"train": int(rollout.n), "val": int(rollout.val_kwargs.n)}
        self._run = _run_name(config.get("trainer") or {})
        self._metadata = run_metadata("verl", self._run, None)
        _warn_of_std(config)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Wait for the group of one sample, and return the sample's reward.

        Raises:
            RankError: If no later sample can be rewarded either, which ends the run.
            ValueError: If the sample does not tell which group it is in.
        """
        item = data[-1:][0]  # of several sequences of one rollout, the last holds them all
        about = item.non_tensor_batch
        response_ids = item.batch["responses"]
        length = int(item.batch["attention_mask"][-response_ids.shape[-1] :].sum())
        text = await self.loop.run_in_executor(
            None, lambda: self.tokenizer.decode(response_ids[:length], skip_special_tokens=True)
        )
        prompt = [dict(message) for message in about["raw_prompt"]]
        member = Trajectory(uuid.uuid4().hex, _answered(prompt, text))
        anchor = self._anchor_of(about)
        group = TrajectoryGroup(
            [member],
            group_id=f"verl/{about['uid']}",
            reference=_reference(about.get("reward_model")),
            metadata=self._metadata,
            **self._asked,
        )
        size = self._group_size(about)
        outcome = await self._client.try_join(
            group,
            group_size=size,
            anchor=None if anchor is None else _answered(prompt, anchor),
            **{**self._waits, "min_members": self._least(size)},
        )
        tell_page(self._client.page(run=self._run))
        return _answer(outcome, member.id, has_anchor=anchor is not None)

    def _anchor_of(self, about: Mapping[str, Any]) -> str | None:
        """Return the answer of the fixed opponent; None if none is asked for."""
        if self._anchor is None:
            return None
        extra = about.get("extra_info")
        fields = extra if isinstance(extra, Mapping) else {}
        if fields.get(self._anchor) is None:
            names = ", ".join(sorted(map(str, fields))) or "none"
            raise ValueError(
                f"reward.podium.anchor is {self._anchor!r}, which extra_info of a sample does not "
                f"have; its fields: {names}"
            )
        return str(fields[self._anchor])

    def _least(self, size: int) -> int | None:
        least = self._waits["min_members"]
        return None if least is None else min(int(least), size)

    def _group_size(self, about: Mapping[str, Any]) -> int:
        """Return the size of a sample's group, which differs between training and validation."""
        if self._sizes["train"] == self._sizes["val"]:
            return self._sizes["train"]
        extra = about.get("extra_info")
        split = extra.get("split") if isinstance(extra, Mapping) else None
        if split is None:
            raise ValueError(
                f"rollout.n is {self._sizes['train']} and rollout.val_kwargs.n is "
                f"{self._sizes['val']}, and a sample does not tell which counts: write extra_info."
                "split (train, or test) into the data set, or make the two equal"
            )
        return self._sizes["train" if split == "train" else "val"]


def _run_name(trainer: Mapping[str, Any]) -> str | None:
    """Return the name under which verl logs a run; None if it has none."""
    names = [trainer.get(name) for name in ("project_name", "experiment_name")]
    return "/".join(str(name) for name in names if name) or None


def _reference(reward_model: Any) -> str | None:
    """Return verl's ground truth as text; None if there is none."""
    truth = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else None
    return as_text(truth) or None


def _answered(prompt: list[dict[str, Any]], answer: str) -> list[dict[str, Any]]:
    return [*prompt, {"role": "assistant", "content": answer}]


def _answer(outcome: GroupReward, member: str, *, has_anchor: bool) -> dict[str, Any]:
    """Return the reward with numbers and texts for verl's log, the same names for each sample."""
    ranking, share = outcome.ranking, 0.0
    results = {result.id: result for result in results_of(outcome) or ()}
    own = results.get(member)
    if results:
        share = 1 / len(results)
    anchored = {"podium/win_rate": win_rate(outcome, member) or 0.0} if has_anchor else {}
    usage = ranking.usage if ranking else None
    tokens = usage.prompt_tokens + usage.completion_tokens if usage else 0
    return {
        "reward_score": own.reward if own else _NO_REWARD,
        "reward_extra_info": anchored
        | {
            "podium/score": (own.score if own else None) or 0.0,
            "podium/reliability": (ranking.reliability if ranking else None) or 0.0,
            "podium/groups_failed": 0.0 if own else 1.0,
            "podium/cost_usd": ((usage.cost_usd if usage else None) or 0.0) * share,
            "podium/judge_tokens": tokens * share,
            "podium/ranking": ranking.id if ranking else "",
            "podium/explanation": (own.explanation if own else None) or "",
        },
    }


def _warn_of_std(config: Any) -> None:
    """Warn if verl divides by the group's spread, as it does by default."""
    algorithm = config.get("algorithm") or {}
    if algorithm.get("adv_estimator") == "grpo" and algorithm.get("norm_adv_by_std_in_grpo", True):
        warn_of_spread("verl", "algorithm.norm_adv_by_std_in_grpo=False")
