"""The pages of a running service: its judges, what failed, and its API keys."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from podium_service import errors
from podium_service.judges.registry import Refusal
from podium_service.pages.frame import Frame, render
from podium_service.schemas import JudgeStatus
from podium_service.schemas.history import RankingSummary

_OUTSIDE_SETTINGS = {"name", "default", "answers", "endpoints"}


def render_judges(
    frame: Frame, judges: Sequence[Mapping[str, Any]], refusal: Refusal | None = None
) -> str:
    """Return the page of all judges, with their settings and whether they answer.

    Args:
        judges: as `GET /judges` lists them.
        refusal: why a newer state of the judges file is not in use; None if the newest is.
    """
    shown = [
        (
            JudgeStatus.model_validate(each),
            yaml.safe_dump(
                {k: v for k, v in each.items() if k not in _OUTSIDE_SETTINGS and v is not None},
                sort_keys=False,
                allow_unicode=True,
            ),
        )
        for each in judges
    ]
    return render("judges", frame, judges=shown, refusal=refusal)


def render_failures(
    frame: Frame, failed: Sequence[RankingSummary], faults: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page of groups that failed, and of replies that were no verdict.

    Args:
        failed: the last groups that failed.
        faults: the last replies without a verdict, as judge, model, at, fault and reply.
    """
    titles = {kind.code: kind for kind in errors.leaves()}
    counts = Counter((each.code or "", each.judge) for each in failed)
    rows = [
        (code, judge, number, titles[code].title if code in titles else "",
         code in titles and titles[code].retryable)
        for (code, judge), number in counts.most_common()
    ]  # fmt: skip
    return render("failures", frame, rows=rows, failed=failed[:50], faults=faults)


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
