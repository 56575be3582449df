"""The page of API keys: who has one, what it may do, and what each key, judge, run and day cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from podium_service.pages.frame import Frame, render
from podium_service.schemas import SpendReport

_MAX_ROWS = 200


def render_keys(
    frame: Frame,
    keys: Sequence[Mapping[str, Any]],
    spend: SpendReport,
    *,
    created: str = "",
    problem: str = "",
) -> str:
    """Return the page of API keys.

    Args:
        keys: as `GET /keys` lists them.
        spend: what judges cost, by one of key, judge, run and day.
        created: the text of a key that was just made; it is shown this one time.
        problem: what was wrong with the form.
    """
    [by] = spend.by
    chosen = {"by": by, "since": spend.since or "", "until": spend.until or ""}
    return render(
        "keys",
        frame,
        keys=keys[::-1],
        spend=spend,
        rows=spend.rows[:_MAX_ROWS],
        chosen=chosen,
        csv_url=frame.url("/ui/keys/spend.csv", **chosen),
        created=created,
        problem=problem,
    )
