"""What failed: groups that no judge ranked, and replies that were no verdict."""

from collections.abc import Sequence

from podium_service import errors
from podium_service.pages.frame import Frame, render
from podium_service.schemas.history import RankingPage
from podium_service.store.history.judging import FaultyReply


def render_failures(
    frame: Frame,
    counts: Sequence[tuple[str, str, int]],
    failed: RankingPage,
    faults: Sequence[FaultyReply],
    *,
    code: str = "",
    judge: str = "",
    cursor: str | None = None,
    before: str | None = None,
    more_before: float | None = None,
) -> str:
    """Return the page of failures.

    Args:
        counts: code, judge and number of all groups that failed.
        failed, faults: a page of groups and one of replies, newest first.
        code, judge: the filters of this page; "" stands for any.
        cursor, before: where the two lists begin, unless at the newest.
        more_before: where the list of replies goes on; None if it ends.
    """
    chosen = {"code": code, "judge": judge}
    kinds = {kind.code: kind for kind in errors.leaves()}
    rows = [
        (each, name, number, kinds[each].title if each in kinds else "",
         each in kinds and kinds[each].retryable)
        for each, name, number in counts
    ]  # fmt: skip
    return render(
        "failures",
        frame,
        rows=rows,
        failed=failed,
        faults=faults,
        chosen=chosen,
        codes=sorted({each for each, _, _ in counts} | ({code} - {""})),
        judges=sorted({name for _, name, _ in counts} | {each.judge for each in faults}
                      | ({judge} - {""})),
        is_filtered=bool(code or judge or cursor or before),
        groups_url=frame.url("/ui/failures", **chosen, before=before, cursor=failed.next)
        if failed.next
        else "",
        faults_url=frame.url("/ui/failures", **chosen, cursor=cursor, before=repr(more_before))
        + "#faults"
        if more_before is not None
        else "",
        newest_url=frame.url("/ui/failures", **chosen) if cursor or before else "",
    )  # fmt: skip
