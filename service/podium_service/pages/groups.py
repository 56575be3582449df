"""The list of groups, the newest first, with filters and a page of rows at a time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from podium_service.pages.frame import Frame, render
from podium_service.schemas.history import RankingPage

# What a person can look for, as the name and value of a filter.
QUICK_FILTERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("All", {}),
    ("No signal", {"signal": "false"}),
    ("Judges disagree", {"max_agreement": "0.3"}),
    ("Check and judge disagree", {"check_disagrees": "true"}),
    ("Longest wins", {"longest_wins": "true"}),
    ("Flagged", {"flag": "steering"}),
    ("Failed", {"outcome": "failed"}),
)
# Filters that a form shows; the others are kept while it is sent.
FIELDS = ("q", "run", "step", "judge", "outcome", "min_reliability")


def render_groups(
    frame: Frame,
    page: RankingPage,
    chosen: Mapping[str, str],
    *,
    cursor: str | None = None,
    judges: Sequence[str] = (),
    curl: str = "",
    **more: Any,
) -> str:
    """Return the list of groups.

    Args:
        chosen: the filters of this page, as its address has them.
        cursor: where the page begins, unless it is the first.
        judges: names of judges to choose from.
        curl: a command that fills an empty store.
    """
    quick = [
        (label, frame.url("/ui", **fields), _is_chosen(fields, chosen))
        for label, fields in QUICK_FILTERS
    ]
    hidden = {name: value for name, value in chosen.items() if name not in FIELDS}
    of_quick = {
        name for _, fields in QUICK_FILTERS if _is_chosen(fields, chosen) for name in fields
    }
    others = [
        (name, value, frame.url("/ui", **{each: chosen[each] for each in chosen if each != name}))
        for name, value in hidden.items()
        if name not in of_quick
    ]
    return render(
        "groups",
        frame,
        page=page,
        chosen={name: chosen.get(name, "") for name in FIELDS},
        is_filtered=bool(chosen),
        hidden=hidden,
        all_chosen=chosen,
        quick=quick,
        others=others,
        next_url=frame.url("/ui", **{**chosen, "cursor": page.next}) if page.next else "",
        first_url=frame.url("/ui", **chosen) if cursor else "",
        export_url=frame.url("/ui/export.jsonl", **chosen),
        judges=list(dict.fromkeys([*judges, *filter(None, [chosen.get("judge")])]))
        if judges
        else [],
        curl=curl,
        **more,
    )


def first_curl(base_url: str, metadata: dict[str, Any] | None = None) -> str:
    """Return the command that has a small group ranked by the default judge."""
    attempts = [("a", "It is Tuesday."), ("b", "Tuesday, 1 December.")]
    question = {"role": "user", "content": "Which day is tomorrow?"}
    body: dict[str, Any] = {"metadata": metadata} if metadata else {}
    body |= {
        "reference": "Tuesday, 1 December.",
        "trajectories": [
            {"id": name, "messages": [question, {"role": "assistant", "content": text}]}
            for name, text in attempts
        ],
    }
    return (
        f"curl {base_url}/rank -H 'Content-Type: application/json' "
        f"-H \"Authorization: Bearer $PODIUM_API_KEY\" \\\n  -d '{json.dumps(body, indent=1)}'"
    )


def _is_chosen(fields: Mapping[str, str], chosen: Mapping[str, str]) -> bool:
    if not fields:
        return not chosen
    return all(chosen.get(name) == value for name, value in fields.items())
