"""Build messages, groups and transcripts in few words."""

from typing import Any

from podium_service.prompts.templates import build_prompt
from podium_service.prompts.transcript import Transcript, transcribe
from podium_service.prompts.wording import instructions
from podium_service.schemas import RankRequest


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | list[dict[str, str]]) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def tool_call(
    name: str, arguments: str, call_id: str = "c1", text: str | None = None
) -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": text, "tool_calls": [call]}


def tool_result(text: str, call_id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def group_request(*conversations: list[dict[str, Any]], **fields: Any) -> RankRequest:
    trajectories = [{"id": f"t{i}", "messages": each} for i, each in enumerate(conversations)]
    return RankRequest.model_validate({"trajectories": trajectories, **fields})


def transcribe_all(request: RankRequest) -> Transcript:
    return transcribe(request, range(len(request.trajectories)))


def prompt_text(transcript: Transcript) -> str:
    """Return the user message of a listwise call that keeps the order of the request."""
    order = sorted(range(len(transcript.bodies)), key=transcript.members.__getitem__)
    system = instructions("scores", "long", None)
    prompt = build_prompt("scores", "long", system, transcript, order)
    return str(prompt.chat()[1]["content"])
