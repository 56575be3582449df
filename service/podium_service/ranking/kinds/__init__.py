"""The kinds of judges: each ranks one group in its own way.

To add a kind:
1. Write its settings class in `judges/settings/` with a `kind` of its own, and enter the class in
   `judges_file.JudgeConfig` and `judges_file.AnyJudge`.
2. Write an async function here that turns a `GroupToRank` of these settings and the
   `RequestContext` into `GroupScores`.
3. Enter the function in `judge_kinds` under the name of the kind.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.ranking.kinds.checks_ranking import rank_by_checks
from podium_service.ranking.kinds.jury_ranking import FAILURES_OF_A_JUDGE, rank_by_jury
from podium_service.ranking.kinds.llm_ranking import LLMRanker

__all__ = ["FAILURES_OF_A_JUDGE", "LLMRanker", "RankGroup", "judge_kinds"]

RankGroup = Callable[[GroupToRank[Any], RequestContext], Awaitable[GroupScores]]


def judge_kinds(llm_ranker: LLMRanker) -> dict[str, RankGroup]:
    """Return the ranking function of each kind of judge, by the `kind` of its settings."""
    return {
        "llm": llm_ranker.rank_group,
        "jury": partial(rank_by_jury, llm_ranker),
        "checks": rank_by_checks,
    }
