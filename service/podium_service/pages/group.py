"""The page of one group: its attempts side by side, and how each pass of the judge saw them."""

import json
from collections.abc import Sequence
from typing import Any

from podium_service.pages.attempts import Attempt, read_attempts, shared_messages
from podium_service.pages.frame import Frame, render
from podium_service.pages.matrix import Matrix, build_matrix
from podium_service.pages.operation.again import Again, dumbbell
from podium_service.pages.operation.people import People
from podium_service.pages.texts.conversation import read_turns
from podium_service.schemas import Ranking
from podium_service.schemas.history import CallView, RankingDetail, RankingSummary

MAX_SIDE_BY_SIDE = 6
_MAX_CURL_CHARS = 64 * 1024


def render_group(
    frame: Frame,
    detail: RankingDetail,
    calls: Sequence[CallView],
    *,
    picked: Sequence[str] = (),
    neighbours: tuple[RankingSummary | None, RankingSummary | None] = (None, None),
    reward_method: str | None = None,
    again: Again | None = None,
    people: People | None = None,
) -> str:
    """Return the page of one group.

    Args:
        picked: ids of the attempts to show side by side, of a group of more than six.
        neighbours: the groups of the same prompt before and after.
        reward_method: how the judge's settings make a reward of a score, if they are known.
        again: what came of judging the group again, and the form for it.
        people: what people said about it, and their forms.
    """
    attempts = read_attempts(detail, calls)
    matrix = build_matrix(attempts, calls, _jurors(detail.ranking))
    return render(
        "group",
        frame,
        detail=detail,
        summary=detail.summary,
        ranking=detail.ranking,
        attempts=attempts,
        chosen=attempts if frame.files is not None else choose(attempts, picked),
        prompt=read_turns(shared_messages(detail.request)),
        matrix=matrix,
        calls=order_calls(calls, matrix),
        lacks_words=lacks_words(detail),
        reason=explain_reward(detail.ranking, reward_method) if detail.ranking else "",
        neighbours=neighbours,
        curl=curl_command(detail, frame.base_url),
        metadata_json=to_json(detail.metadata or {}),
        max_side_by_side=MAX_SIDE_BY_SIDE,
        is_picking=frame.files is None and len(attempts) > MAX_SIDE_BY_SIDE,
        again=again or Again(),
        people=people or People(),
        dumbbell=dumbbell,
        permalink=f"{frame.base_url}/ui/rankings/{detail.summary.ask}",
    )


def _jurors(ranking: Ranking | None) -> list[str]:
    return [each.judge for each in ranking.jurors or ()] if ranking else []


def order_calls(calls: Sequence[CallView], matrix: Matrix | None) -> list[CallView]:
    """Return calls as the matrix has its columns, each reply without a verdict before the next."""
    jurors = [name for name, _ in matrix.jurors] if matrix else []
    judges = list(dict.fromkeys([*jurors, *(call.judge for call in calls)]))
    return sorted(calls, key=lambda call: (judges.index(call.judge), call.pass_index, call.at))


def explain_reward(ranking: Ranking, reward_method: str | None = None) -> str:
    """Return one sentence on how the rewards of a ranking came about."""
    by_basis = {
        "identical": "All attempts are identical: no judge was asked, and their rewards are equal.",
        "alone": "There was no other attempt to compare with, so no judge was asked.",
        "all_gated": "Every attempt failed a gate, so no judge was asked.",
    }
    if ranking.basis != "judged":
        return by_basis[ranking.basis]
    if ranking.method == "checks":
        return "Deterministic checks scored each attempt; no model was asked."
    passes = f"{ranking.passes} pass{'' if ranking.passes == 1 else 'es'}"
    sentences = [f"{passes} over the attempts ({ranking.method}), each in an order of its own"]
    if ranking.jurors:
        counted = sum(each.status == "counted" for each in ranking.jurors)
        sentences[0] = f"{counted} of {len(ranking.jurors)} jurors counted, {passes} in all"
    if ranking.reliability is not None:
        sentences.append(
            f"{100 * ranking.reliability:.0f}% of the differences between the scores are signal, "
            "and the scores shrink toward their mean by the rest"
        )
    meaning = {
        "win_probability": "a reward is the chance to beat a random other attempt of this group",
        "rank": "a reward is the attempt's rank, scaled to [0, 1]",
        "score": "a reward is the score itself",
    }
    if reward_method in meaning:
        sentences.append(meaning[reward_method])
    if any(each.flags and each.reward == 0 for each in ranking.results):
        sentences.append("attempts that failed a gate get 0")
    return "; ".join(sentences) + "."


def lacks_words(detail: RankingDetail) -> bool:
    """Tell whether a model has judged the group without a sentence, and could still be asked."""
    ranking = detail.ranking
    if ranking is None or detail.request is None:
        return False
    is_by_model = ranking.basis == "judged" and ranking.method != "checks"
    return is_by_model and not any(each.explanation for each in ranking.results)


def choose(attempts: Sequence[Attempt], picked: Sequence[str]) -> list[Attempt]:
    """Return the attempts to show side by side: all of a small group, else the picked ones.

    Without any picked, these are the first and the last.
    """
    if len(attempts) <= MAX_SIDE_BY_SIDE:
        return list(attempts)
    chosen = [each for each in attempts if each.id in picked][:MAX_SIDE_BY_SIDE]
    return chosen or [attempts[0], attempts[-1]]


def curl_command(detail: RankingDetail, base_url: str) -> str | None:
    """Return the command that sends a group again; None if its texts are not kept or very long.

    All characters but ASCII are escapes, so that none can hide in a terminal.
    """
    if detail.request is None:
        return None
    skipped = set() if detail.request.flip_order else {"flip_order"}
    body = detail.request.model_dump(exclude_none=True, exclude=skipped)
    if detail.metadata:
        body["metadata"] = detail.metadata
    sent = to_json(body, ensure_ascii=True)
    if len(sent) > _MAX_CURL_CHARS:
        return None
    return (
        f"curl {base_url}/v1/rank -H 'Content-Type: application/json' "
        "-H \"Authorization: Bearer $PODIUM_API_KEY\" --data-binary @- <<'GROUP'\n"
        f"{sent}\nGROUP"
    )


def to_json(value: Any, *, ensure_ascii: bool = False) -> str:
    return json.dumps(value, indent=1, ensure_ascii=ensure_ascii)
