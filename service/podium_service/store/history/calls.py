"""Show a stored call under the ids of the client."""

from collections.abc import Sequence
from typing import Any

from podium_service.schemas import Usage
from podium_service.schemas.history import CallView


def view_call(call: dict[str, Any], names: Sequence[str] | None) -> CallView:
    """Return a call as clients see it.

    Args:
        call: as `SQLStore.read_calls` returns it.
        names: ids of the client, by the index of the body that each of them stands for; None if
            they are not known, because the call is from before they were kept.
    """
    verdict = call["verdict"] or {"order": [], "ids": [], "scores": [], "explanations": []}
    explanations = verdict["explanations"] or [""] * len(verdict["order"])
    columns = zip(verdict["order"], verdict["ids"], verdict["scores"], explanations, strict=True)
    # A planted trajectory is no body of the group.
    bodies = len(names) if names is not None else len(verdict["order"])
    shown = [
        (names[body] if names is not None else rest[0], *rest)
        for body, *rest in columns
        if 0 <= body < bodies
    ]
    return CallView(
        pass_index=call["pass_index"],
        at=call["created_at"],
        judge=call["judge"],
        model=call["model"],
        messages=call["messages"],
        reply=call["reply"],
        finish_reason=call["finish_reason"],
        order=[name for name, *_ in shown],
        shown_ids={shown_id: name for name, shown_id, *_ in shown},
        scores={name: score for name, _, score, _ in shown},
        explanations={name: text for name, _, _, text in shown if text},
        fault=call["fault"],
        usage=Usage.model_validate(call["usage"]),
        latency_s=call["latency_s"],
    )
