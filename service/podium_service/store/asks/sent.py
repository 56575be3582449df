"""Keep a group as it was sent: its JSON without ids and metadata, and the prompt in it.

The messages that all trajectories begin with are written once. What they share is most of many
groups.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import takewhile
from typing import Any

from pydantic_core import from_json, to_json

from podium_service.schemas import Message, RankRequest

_PROMPT_ROLES = {"system", "developer", "user"}


def transcript_of(request: RankRequest) -> bytes:
    """Return the JSON that is kept of a group."""
    trajectories = request.trajectories
    num_shared = _count_shared([each.messages for each in trajectories])
    content = {
        "task": request.task,
        "reference": request.reference,
        "rubric": request.rubric,
        "tools": request.tools,
        "shared": trajectories[0].messages[:num_shared],
        "trajectories": [
            {
                "messages": each.messages[num_shared:],
                "tools": each.tools,
                "finish_reason": each.finish_reason,
                "verified_reward": each.verified_reward,
            }
            for each in trajectories
        ],
    }
    return to_json(content, exclude_none=True)


def read_transcript(content: bytes) -> dict[str, Any]:
    """Return the members of a group, given what is kept of it; trajectories lack their ids."""
    group: dict[str, Any] = from_json(content)  # because it keeps integers of any size
    shared = group.pop("shared")
    for trajectory in group["trajectories"]:
        trajectory["messages"] = shared + trajectory["messages"]
        for message in trajectory["messages"]:
            for call in message.get("tool_calls", ()):
                (call.get("function") or call).setdefault("name", None)  # required, and may be null
    return group


def prompt_of(request: RankRequest) -> tuple[str, str]:
    """Return what a group asks for, in words, and a name for it: a hash of prompt and task."""
    leading = takewhile(
        lambda message: message.role in _PROMPT_ROLES, request.trajectories[0].messages
    )
    prompt = [(message.role, message.text) for message in leading]
    digest = sha256(to_json([request.task, prompt])).hexdigest()[:16]
    asked = [text for role, text in prompt if role == "user"] or [text for _, text in prompt]
    return request.task or (asked[-1] if asked else ""), digest


def _count_shared(conversations: Sequence[Sequence[Message]]) -> int:
    """Count the first messages that were sent alike in all trajectories."""
    columns = zip(*conversations, strict=False)
    return sum(1 for _ in takewhile(lambda column: all(m == column[0] for m in column), columns))
