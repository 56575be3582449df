"""Reward TRL's `GRPOTrainer` and `AsyncGRPOTrainer` by a judge that ranks each group.

    args = GRPOConfig(scale_rewards="none")
    GRPOTrainer(model, reward_funcs=PodiumReward(judge="main"), args=args, train_dataset=prompts)

TRL calls the reward function with the completions of one process, and a group may lie on several
processes. So all processes put their completions together, the first one asks for the rankings, and
each returns the rewards of its own completions. A group that failed gets None for each of its
completions: TRL leaves them out of the baseline and gives them no advantage.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from podium.answers import GroupReward
from podium.blocking_client import RankClient
from podium.client import DEFAULT_DEADLINE_S, DEFAULT_MAX_DRY
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.anchors import FIRST_COMPLETION, FirstCompletions
from podium.integrations.chat import Text, as_text, conversation
from podium.integrations.outcome import (
    columns,
    metrics,
    rewards_of,
    run_metadata,
    tell_page,
    warn_of_spread,
    with_anchor,
)
from podium.integrations.processes import gather, run_on_first

__all__ = ["FIRST_COMPLETION", "PodiumReward"]

_NO_COLUMNS = {"environments"}
_MAX_RUN_CHARS = 200  # of the 256 that the id of a group may have


@dataclass(frozen=True)
class _Row:
    prompt: Text
    completion: Text
    reference: str | None
    task: str | None
    anchor: Any
    finish_reason: str | None
    tools: Sequence[Mapping[str, Any]] | None

    def trajectory(self, name: str) -> Trajectory:
        messages = conversation(self.prompt, self.completion)
        return Trajectory(name, messages, finish_reason=self.finish_reason)


class PodiumReward:
    """A reward function of TRL that asks a Podium service to rank each group.

    It may be pickled, and is one name, `podium`, among the trainer's rewards.

    Args:
        base_url: the URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000.
        judge: the name of a judge in the service's judges file; None for its default judge.
        rubric: criteria that replace the judge's own rubric.
        reference: the name of the column with a known good answer, which the judge is shown.
        task: the name of the column with the task in words, which the judge is shown.
        anchor: a fixed opponent, which is ranked in each group and never trained on: the name of
            the column with its answer, a text or messages, or `FIRST_COMPLETION` for the first
            completion of each prompt. The metric `podium/win_rate` is against it.
        num_generations: the size of the groups, where the trainer cannot be asked. None takes rows
            with equal prompts that follow each other.
        run: the name of the run, for the ids of its groups; None takes the trainer's `run_name`.
        deadline_s: seconds for the rewards of one batch.
        max_dry: the number of batches in a row without any ranked group after which the run is
            stopped; None for no bound.
        api_key: the bearer token; None takes `PODIUM_API_KEY`.
    """

    __name__ = "podium"

    def __init__(
        self,
        base_url: str | None = None,
        *,
        judge: str | None = None,
        rubric: str | None = None,
        reference: str | None = None,
        task: str | None = None,
        anchor: str | None = None,
        num_generations: int | None = None,
        run: str | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        max_dry: int | None = DEFAULT_MAX_DRY,
        api_key: str | None = None,
    ) -> None:
        self._client = RankClient(base_url, api_key=api_key, deadline_s=deadline_s, max_dry=max_dry)
        self._judge = judge
        self._rubric = rubric
        self._columns = {"reference": reference, "task": task, "anchor": anchor}
        self._num_generations = num_generations
        self._run = run
        self._first = FirstCompletions()
        self._last_batch = ("", 0)  # where it is in the run, and its groups so far
        self._has_checked = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client!r}, judge={self._judge!r})"

    def __call__(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        *,
        completion_ids: Sequence[Sequence[int]] | None = None,
        trainer_state: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **data: Sequence[Any],
    ) -> list[float | None]:
        """Return the reward of each completion; None for those of a group that was left out.

        Args:
            prompts: the prompts of this process, as texts or messages, each repeated for its group.
            completions: as many completions, as texts or messages.
            completion_ids: their tokens, which tell whether a completion was cut off.
            trainer_state: the state of the trainer, which tells the step.
            log_extra: TRL's logger of columns beside the completions.
            log_metric: TRL's logger of metrics, a method of the trainer.
            data: the columns of the data set, as many values each.

        Raises:
            RankError: If no later batch can be ranked, in all processes; see `StopRule`.
            ValueError: If a column is not there, or the groups are not whole.
        """
        trainer = getattr(log_metric, "__self__", None)
        reasons = _finish_reasons(trainer, completion_ids, len(prompts))
        tools = _tools(trainer, data, len(prompts))
        rows, start = gather(self._rows(prompts, completions, reasons, tools, data))
        groups = _split(rows, self._group_size(trainer))
        outcomes = run_on_first(lambda: self._rank(groups, trainer, trainer_state))
        mine = slice(start, start + len(prompts))
        if log_metric is not None and start == 0:
            for name, value in metrics(outcomes).items():
                log_metric(name, value)
        if log_extra is not None:
            for name, values in columns(outcomes, [len(group) for group in groups]).items():
                log_extra(name, values[mine])
        rewards: list[float | None] = []
        for group, outcome in zip(groups, outcomes, strict=True):
            rewards += rewards_of(outcome) or [None] * len(group)
        return rewards[mine]

    def _rows(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        reasons: Sequence[str | None],
        tools: Sequence[Any],
        data: Mapping[str, Sequence[Any]],
    ) -> list[_Row]:
        references, tasks, anchors = (
            self._values(what, data, len(prompts)) for what in ("reference", "task", "anchor")
        )
        told = zip(prompts, completions, references, tasks, anchors, reasons, tools, strict=True)
        return [
            _Row(p, c, as_text(reference), as_text(task), anchor, reason, own)
            for p, c, reference, task, anchor, reason, own in told
        ]

    def _values(self, what: str, data: Mapping[str, Sequence[Any]], num_rows: int) -> Sequence[Any]:
        name = self._columns[what]
        if name is None or name == FIRST_COMPLETION:
            return [None] * num_rows
        if name not in data:
            others = ", ".join(sorted(data.keys() - _NO_COLUMNS)) or "none"
            raise ValueError(
                f"PodiumReward takes the {what} from column {name!r}, which the data set does not "
                f"have; its columns beside the prompt: {others}"
            )
        return data[name]

    def _group_size(self, trainer: Any) -> int | None:
        if trainer is None:
            return self._num_generations
        is_training = trainer.model.training
        size = trainer.num_generations if is_training else trainer.num_generations_eval
        return int(size)

    def _rank(
        self, groups: Sequence[Sequence[_Row]], trainer: Any, state: Any
    ) -> list[GroupReward]:
        args = getattr(trainer, "args", None)
        if not self._has_checked:
            self._has_checked = True
            warn_if_spread_divides(args)
        run = self._run or getattr(args, "run_name", None)
        step = getattr(state, "global_step", None)
        place = _place(run, step, is_training=trainer is None or trainer.model.training)
        begun = self._last_batch[1] if self._last_batch[0] == place else 0
        self._last_batch = (place, begun + len(groups))
        metadata = run_metadata("trl", run, step)
        asked = [
            self._group(rows, f"{place}/prompt-{number}", metadata)
            for number, rows in enumerate(groups, begun)
        ]
        outcomes = self._client.rank_many(asked)
        tell_page(self._client.page(run=run))
        return outcomes

    def _group(
        self, rows: Sequence[_Row], group_id: str, metadata: Mapping[str, Any]
    ) -> TrajectoryGroup:
        first = rows[0]
        anchor = first.anchor
        if self._columns["anchor"] == FIRST_COMPLETION:
            anchor = self._first.anchor(first.prompt, first.completion)
        elif not isinstance(anchor, list):
            anchor = as_text(anchor)
        group = TrajectoryGroup(
            [row.trajectory(str(index)) for index, row in enumerate(rows)],
            group_id,
            judge=self._judge,
            task=first.task,
            reference=first.reference,
            rubric=self._rubric,
            tools=first.tools or None,
            metadata=metadata,
        )
        return with_anchor(group, None if anchor is None else conversation(first.prompt, anchor))


def warn_if_spread_divides(args: Any) -> None:
    """Warn if the trainer divides the rewards of a group by their spread.

    Args:
        args: a `GRPOConfig`; None for a trainer that does not tell.
    """
    if getattr(args, "multi_objective_aggregation", None) == "normalize_then_sum":
        warn_of_spread(
            'GRPOConfig(multi_objective_aggregation="normalize_then_sum")',
            'GRPOConfig(multi_objective_aggregation="sum_then_normalize", scale_rewards="none")',
        )
    elif getattr(args, "scale_rewards", None) == "group":
        warn_of_spread('GRPOConfig(scale_rewards="group")', 'GRPOConfig(scale_rewards="none")')


def _finish_reasons(
    trainer: Any, completion_ids: Sequence[Sequence[int]] | None, num_rows: int
) -> Sequence[str | None]:
    """Return why each completion ended, as TRL tells it; None if the trainer cannot be asked."""
    ends = getattr(trainer, "eos_token_ids", None)
    if not ends or completion_ids is None:
        return [None] * num_rows
    pad = getattr(getattr(trainer, "_tokenizer", None), "pad_token_id", None)
    return ["stop" if ids and ids[-1] in {*ends, pad} else "length" for ids in completion_ids]


def _tools(
    trainer: Any, data: Mapping[str, Sequence[Any]], num_rows: int
) -> Sequence[list[dict[str, Any]] | None]:
    """Return the definitions of the tools that each completion could call; None without any."""
    tools = getattr(trainer, "tools", None)
    if not tools:
        return [None] * num_rows
    from transformers.utils.chat_template_utils import get_json_schema

    def define(known: Sequence[Any]) -> list[dict[str, Any]]:
        return [tool if isinstance(tool, dict) else get_json_schema(tool) for tool in known]

    if not getattr(trainer, "_multi_environment", False):
        return [define(tools)] * num_rows
    own = {name: define(known) for name, known in trainer._env_tools.items()}
    return [own[name] for name in data["environment"]]


def _place(run: str | None, step: int | None, *, is_training: bool) -> str:
    """Return the first part of the ids of a batch's groups, such as `demo/step-12`."""
    name = (run or "trl")[:_MAX_RUN_CHARS]
    return name if step is None else f"{name}/{'step' if is_training else 'eval'}-{step}"


def _split(rows: Sequence[_Row], size: int | None) -> list[list[_Row]]:
    """Return the groups, of this size or else of equal prompts.

    Raises:
        ValueError: If the rows are not a multiple of the size.
    """
    if size is None:
        return [list(group) for _, group in groupby(rows, lambda row: row.prompt)]
    if len(rows) % size:
        raise ValueError(f"{len(rows)} completions are no whole groups of {size}")
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
