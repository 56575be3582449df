"""Render a group's trajectories as the texts that a judge sees.

Text is escaped, so that nothing in a trajectory can close our tags or open new ones. Equal
trajectories, and the first messages that all share, are rendered once. Ids, logprobs and extra keys
of messages are left out, and so is what the model thought unless the judge is to see it. Images are
rendered as labels. Two trajectories with the same text and images here are equal for every judge.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import takewhile
from typing import Literal

from podium_service.prompts.defences.escape import clean, mark_spaces
from podium_service.prompts.defences.steering import hide_steering
from podium_service.prompts.message_parts.images import (
    collect_images,
    guard_labels,
    number_images,
    render_content,
)
from podium_service.prompts.message_parts.tool_calls import dump_json, match_results, render_call
from podium_service.schemas import Image, Message, RankRequest, Tool, ToolCall, Trajectory

View = Literal["as_told", "actions_first"]
Cleaner = Callable[[str], str]

# Only these say something: any other reason, such as `stop`, is the common end of a message.
_CUT_OFF = {
    "length": "length (the last message was cut off at the token limit)",
    "content_filter": "content_filter (the last message was stopped by a filter)",
}


@dataclass(frozen=True, slots=True)
class Transcript:
    """The texts of a group with N distinct trajectories, sorted by digest.

    Attributes:
        context: task, reference, tools and the messages that all trajectories share.
        bodies: N texts, the rest of each distinct trajectory.
        digests: N hex SHA-256 digests of the distinct trajectories' whole texts.
        members: N lists of indices into the request, the trajectories that each body stands for.
        num_shared: how many first blocks (tools, messages) are in the context, not in the bodies.
        is_plain: whether the texts are in the plain layout, without tags of ours (see `plain`).
        images: the images of the trajectories; image n, as labels name it, is the n-th.
        image_tokens: what each image counts for; 0 where the judge sees none.
        hidden: digests of the shown texts from which paragraphs are left out, by body.
    """

    context: str
    bodies: list[str]
    digests: list[str]
    members: list[list[int]]
    num_shared: int = 0
    is_plain: bool = False
    images: Sequence[Image] = field(default_factory=list)
    image_tokens: int = 0
    hidden: Mapping[int, str] = field(default_factory=dict)

    @property
    def shown_digests(self) -> list[str]:
        """The digests of what a judge reads: `digests`, but for texts with paragraphs left out."""
        return [self.hidden.get(body, digest) for body, digest in enumerate(self.digests)]


def transcribe(
    request: RankRequest,
    shown: Sequence[int],
    *,
    view: View = "as_told",
    datamark: bool = False,
    show_reasoning: bool = False,
    image_tokens: int = 0,
    steering: Set[int] = frozenset(),
) -> Transcript:
    """Render a group's trajectories.

    Args:
        request: the group.
        shown: indices of the trajectories to render.
        view: `as_told` keeps the order of messages; `actions_first` puts tool calls and their
            results before, and apart from, texts.
        datamark: put `escape.DATAMARK` before every run of whitespace in trajectories (not in task,
            reference and tools).
        show_reasoning: show what the model thought before it spoke.
        image_tokens: what an image counts for; 0 for a judge that sees none.
        steering: indices of trajectories whose paragraphs that address the judge are left out.

    Returns:
        The transcript. None of view, datamark, image_tokens and steering changes digests, their
        order or the shared messages' number.
    """
    trajectories = [request.trajectories[index] for index in shown]
    images = collect_images(message for each in trajectories for message in each.messages)
    plain = guard_labels(clean) if images else clean
    blocks, members = _find_equals(request, shown, plain, show_reasoning)
    digests = sorted(blocks)
    hidden = [body for body, each in enumerate(digests) if members[each][0] in steering]
    num_shared = _count_shared([blocks[digest] for digest in digests])
    if datamark or steering or view == "actions_first":
        marker = guard_labels(mark_spaces) if images else mark_spaces
        shown_cleaner = marker if datamark else plain
        for digest, (first, *_) in members.items():
            cleaner = partial(_hide, shown_cleaner) if first in steering else shown_cleaner
            trajectory = request.trajectories[first]
            blocks[digest] = _render(trajectory, cleaner, show_reasoning)
            if view == "actions_first":
                sections = _render_actions_first(trajectory, num_shared, cleaner, show_reasoning)
                blocks[digest][num_shared:] = sections
    shared = blocks[digests[0]][:num_shared] if digests else []
    context = _render_context(request, shared, plain)
    bodies = ["\n".join(filter(None, blocks[digest][num_shared:])) for digest in digests]
    numbered: list[str] = []
    if images:
        (context, *bodies), numbered = number_images([context, *bodies], image_tokens > 0)
    return Transcript(
        context=context,
        bodies=bodies,
        digests=digests,
        members=[members[digest] for digest in digests],
        num_shared=num_shared,
        images=[images[digest] for digest in numbered],
        image_tokens=image_tokens if numbered else 0,
        hidden={body: _digest(blocks[digests[body]]) for body in hidden},
    )


def _find_equals(
    request: RankRequest, shown: Sequence[int], cleaner: Cleaner, show_reasoning: bool
) -> tuple[dict[str, list[str]], dict[str, list[int]]]:
    """Return the blocks of each distinct trajectory, and who is equal to it, by their digest."""
    blocks: dict[str, list[str]] = {}
    members: dict[str, list[int]] = {}
    for index in shown:
        texts = _render(request.trajectories[index], cleaner, show_reasoning)
        digest = _digest(texts)
        blocks[digest] = texts
        members.setdefault(digest, []).append(index)
    return blocks, members


def _digest(texts: Sequence[str]) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()


def _hide(cleaner: Cleaner, text: str) -> str:
    return cleaner(hide_steering(text))


def _count_shared(blocks: list[list[str]]) -> int:
    """Count the first blocks that are equal in all trajectories, without the last of each."""
    columns = zip(*(each[:-1] for each in blocks), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _render(trajectory: Trajectory, cleaner: Cleaner, show_reasoning: bool) -> list[str]:
    """Render one block for each message and, last and never shared, one for the finish reason."""
    blocks = [_render_tools(trajectory.tools)] if trajectory.tools else []
    results = match_results(trajectory.messages, cleaner)
    for index, message in enumerate(trajectory.messages):
        if message.role == "tool":
            blocks.append(_render_result(message, results[index], cleaner))
            continue
        parts = _render_texts(message, cleaner, show_reasoning)
        if message.tool_calls:
            parts += _render_calls(message.tool_calls, cleaner)
        blocks.append(_wrap("message", parts, f' role="{message.role}"'))
    blocks.append(_render_end(trajectory))
    return blocks


def _render_actions_first(
    trajectory: Trajectory, num_shared: int, cleaner: Cleaner, show_reasoning: bool
) -> list[str]:
    """Render the blocks after the shared ones as actions, claims and the finish reason.

    Users' texts are among the claims, because without them the agent's texts make no sense.
    """
    tools = [_render_tools(trajectory.tools)] if trajectory.tools else []
    start = max(0, num_shared - len(tools))
    results = match_results(trajectory.messages, cleaner)
    actions, claims = [], []
    for index, message in enumerate(trajectory.messages[start:], start):
        if message.role == "tool":
            actions.append(_render_result(message, results[index], cleaner))
            continue
        actions += _render_calls(message.calls, cleaner)
        if texts := _render_texts(message, cleaner, show_reasoning):
            claims.append(_wrap("message", texts, f' role="{message.role}"'))
    sections = [
        _wrap(tag, parts) if parts else f"<{tag}>none</{tag}>"
        for tag, parts in (("actions", actions), ("claims", claims))
    ]
    return [*tools[num_shared:], *sections, _render_end(trajectory)]


def _render_texts(message: Message, cleaner: Cleaner, show_reasoning: bool) -> list[str]:
    """Render what a message says and shows and, if wanted, what the model thought before it."""
    parts = []
    if show_reasoning and (thoughts := message.thoughts):
        parts.append(_wrap("thoughts", [cleaner(thoughts)]))
    if content := render_content(message, cleaner):
        parts.append(content)
    return parts


def _render_calls(calls: Sequence[ToolCall], cleaner: Cleaner) -> list[str]:
    """Render a message's calls; parallel ones are numbered, because their ids are not shown."""
    if len(calls) == 1:
        return [render_call(calls[0], 0, cleaner)]
    return [render_call(call, number, cleaner) for number, call in enumerate(calls, start=1)]


def _render_result(message: Message, attributes: str, cleaner: Cleaner) -> str:
    return f"<tool_result{attributes}>\n{render_content(message, cleaner)}\n</tool_result>"


def _wrap(tag: str, parts: Sequence[str], attributes: str = "") -> str:
    inner = "\n".join(parts)
    return f"<{tag}{attributes}>\n{inner}\n</{tag}>"


def _render_end(trajectory: Trajectory) -> str:
    reason = _CUT_OFF.get(trajectory.finish_reason or "")
    return f"<finish_reason>{reason}</finish_reason>" if reason else ""


def _render_context(request: RankRequest, shared: list[str], cleaner: Cleaner) -> str:
    parts = []
    if request.task:
        parts.append(_wrap("task", [cleaner(request.task)]))
    if request.reference:
        parts.append(_wrap("reference", [cleaner(request.reference)]))
    if request.tools:
        parts.append(_render_tools(request.tools))
    if shared:
        parts.append(_wrap("shared_messages", shared))
    return "\n\n".join(parts)


def _render_tools(tools: list[Tool]) -> str:
    lines = [clean(dump_json(tool.get("function", tool))) for tool in tools]
    return _wrap("tools", lines)
