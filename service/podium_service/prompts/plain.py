"""Show short answers as they are, under plain headings, where nothing in them looks like ours.

Tags and fences around an answer of one word cost more tokens than the answer, and a small judge
loses the answer among them. A group is shown plainly if all its trajectories answer one question by
one short text, or by a few tool calls, each with its result, and no text could be taken for a
heading, a tag or a question of ours. Any other group is fenced.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from podium_service.prompts.defences.escape import clean
from podium_service.prompts.defences.lookalikes import UNSEEN, fold
from podium_service.prompts.message_parts.tool_calls import UNKNOWN, render_arguments
from podium_service.prompts.transcript import Transcript
from podium_service.schemas import Message, RankRequest, ToolCall, Trajectory

MAX_CHARS = 2000  # of one answer
_ENDINGS = {
    "length": "\n(cut off at the token limit)",
    "content_filter": "\n(stopped by a content filter)",
}
_SYSTEM = ("system", "developer")
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
# What may stand before a word at the beginning of a line: marks of lists, of quotes or of stress.
_BEGINNING = r"^[^\w\n]*(?:\d{1,3}[.)][^\w\n]*)?"
# Anything that could be taken for a part of the prompt, in any case.
_LIKE_OURS = re.compile(
    r"</?[a-z_|]|^[^\S\n]*[-=*#_~]{3,}"
    rf"|{_BEGINNING}(?:task|question|instructions|dialogue|user|assistant|reference(?: answer)?"
    r"|rubric)[^\w\n:]*:"
    r"|\b(?:answer|response|option|candidate|trajectory)\s+[\"'(*]*[a-z0-9]\b"
    r"|\bwhich\b.{0,40}\b(?:best|better)\b|\breply\b.{0,20}\b(?:with|yes|no)\b",
    re.IGNORECASE | re.MULTILINE,
)
_CALL, _RESULT, _TEXT = "Call", "Result", "Text"
# Anything that could be taken for the beginning of another step.
_LIKE_A_STEP = re.compile(
    rf"{_BEGINNING}(?:{_CALL}|{_RESULT}|{_TEXT})[^\w\n:]*:", re.IGNORECASE | re.MULTILINE
)


def show_plainly(
    transcript: Transcript, request: RankRequest, *, show_reasoning: bool = False
) -> Transcript:
    """Return the transcript of a request in the plain layout; unchanged if it must be fenced.

    Args:
        show_reasoning: as in `transcribe`; an attempt with thoughts to show must be fenced.
    """
    num_shared = transcript.num_shared
    trajectories = [request.trajectories[first] for first, *_ in transcript.members]
    if not trajectories or request.tools or any(each.tools for each in trajectories):
        return transcript
    if transcript.images:  # because texts refer to them by labels, which only fences protect
        return transcript
    if show_reasoning and any(m.thoughts for each in trajectories for m in each.messages):
        return transcript
    context = _plain_context(request, trajectories[0].messages[:num_shared])
    has_steps = any(m.role == "tool" or m.calls for t in trajectories for m in t.messages)
    show = _plain_steps if has_steps else _plain_answer
    answers = [show(each, num_shared) for each in trajectories]
    bodies = [answer for answer in answers if answer is not None]
    if context is None or len(bodies) < len(answers):
        return transcript
    return replace(transcript, context=context, bodies=bodies, is_plain=True)


def _plain_context(request: RankRequest, shared: Sequence[Message]) -> str | None:
    """Return the task, the reference and the messages of the prompt; None if tools were called.

    The prompt may be a message of the system and a dialogue that ends with the user.
    """
    has_system = bool(shared) and shared[0].role in _SYSTEM
    dialogue = shared[has_system:]
    turns = [message.role for message in dialogue]
    if turns[-1:] not in ([], ["user"]) or not _SPEAKERS.keys() >= set(turns):
        return None
    if any(message.tool_calls for message in shared) or (has_system and not dialogue):
        return None
    headed = [("Task", request.task)]
    if has_system:
        headed.append(("Instructions", shared[0].text))
    if len(dialogue) == 1:
        headed.append(("Question" if request.task else "Task", dialogue[0].text))
    elif dialogue:
        said = (f"{_SPEAKERS[message.role]}: {message.text}" for message in dialogue)
        headed.append(("Dialogue", "\n".join(said)))
    headed.append(("Reference answer", request.reference))
    return "\n\n".join(f"{heading}:\n{clean(text)}" for heading, text in headed if text)


def _plain_answer(trajectory: Trajectory, num_shared: int) -> str | None:
    own = trajectory.messages[num_shared:]
    if len(own) != 1 or own[0].role != "assistant":
        return None
    return _ended(trajectory, own[0].text.strip())


def _plain_steps(trajectory: Trajectory, num_shared: int) -> str | None:
    """Return one paragraph for each text, call and result; None if a result answers no call.

    Calls that were made at once are fenced, because their results may come in any order.
    """
    steps: list[tuple[str, str]] = []
    waiting: ToolCall | None = None
    for message in trajectory.messages[num_shared:]:
        is_result = message.role == "tool"
        if is_result and waiting is not None and _is_answer(message, waiting):
            steps.append((_RESULT, message.text))
            waiting = None
        elif not is_result and message.role == "assistant" and len(message.calls) <= 1:
            steps += [(_TEXT, message.text)] if message.text.strip() else []
            waiting = next(iter(message.calls), None)
            steps += [(_CALL, _shown_call(waiting))] if waiting else []
        else:
            return None
    body = "\n".join(f"{label}: {text.strip()}" for label, text in steps)
    is_long = len(body) > MAX_CHARS
    if is_long or any(_LIKE_A_STEP.search(_as_seen(text)) for _, text in steps):
        return None
    return _ended(trajectory, body)


def _is_answer(result: Message, call: ToolCall) -> bool:
    if result.tool_call_id:
        return result.tool_call_id == call.id
    return not result.name or result.name == call.called.name


def _shown_call(call: ToolCall) -> str:
    return f"{call.called.name or UNKNOWN}({render_arguments(call.called.arguments)})"


def _ended(trajectory: Trajectory, text: str) -> str | None:
    """Return a short harmless text, and how it ended where that says something."""
    if not text or len(text) > MAX_CHARS or _LIKE_OURS.search(_as_seen(text)):
        return None
    return clean(text) + _ENDINGS.get(trajectory.finish_reason or "", "")


def _as_seen(text: str) -> str:
    """Return the text without disguises: look-alike letters, invisible ones, unusual line ends."""
    return fold("\n".join(text.splitlines())).replace(UNSEEN, "")
