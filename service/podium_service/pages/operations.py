"""The page of API keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from podium_service.pages.frame import Frame, render


def render_keys(
    frame: Frame,
    keys: Sequence[Mapping[str, Any]],
    *,
    created: str = "",
    problem: str = "",
) -> str:
    """Return the page of API keys.

    Args:
        keys: as `GET /keys` lists them.
        created: the text of a key that was just made; it is shown this one time.
        problem: what was wrong with the form.
    """
    return render("keys", frame, keys=keys[::-1], created=created, problem=problem)
