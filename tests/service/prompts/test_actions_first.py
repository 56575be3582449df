"""The view `actions_first` shows what the agent did before, and apart from, what it says."""

from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest
from tests.service.prompts.conversations import (
    assistant,
    group_request,
    tool_call,
    tool_result,
    user,
)


def action_request() -> RankRequest:
    return group_request(
        [
            user("Book it."),
            tool_call("book", '{"seat": "4A"}', text="I book."),
            tool_result("no seat"),
            user("Well?"),
            assistant("It is booked!"),
        ],
        [user("Book it."), assistant("Done.")],
    )


def test_actions_first_shows_actions_before_and_apart_from_texts() -> None:
    transcript = transcribe(action_request(), [0, 1], view="actions_first")
    (did,) = (body for body in transcript.bodies if "4A" in body)
    assert did == (
        "<actions>\n"
        '<tool_call>book(seat="4A")</tool_call>\n'
        '<tool_result name="book">\nno seat\n</tool_result>\n'
        "</actions>\n"
        "<claims>\n"
        '<message role="assistant">\nI book.\n</message>\n'
        '<message role="user">\nWell?\n</message>\n'
        '<message role="assistant">\nIt is booked!\n</message>\n'
        "</claims>"
    )
    (only_said,) = (body for body in transcript.bodies if "4A" not in body)
    assert only_said == (
        "<actions>none</actions>\n"
        '<claims>\n<message role="assistant">\nDone.\n</message>\n</claims>'
    )


def test_actions_first_names_the_results_of_shared_calls() -> None:
    start = [user("q"), tool_call("look", "{}")]
    request = group_request([*start, tool_result("one")], [*start, tool_result("two")])
    bodies = transcribe(request, [0, 1], view="actions_first").bodies
    assert all('<tool_result name="look">' in body for body in bodies)
    assert all("<claims>none</claims>" in body for body in bodies)


def test_actions_first_shows_a_trajectorys_own_tools_once() -> None:
    request = action_request()
    for shared in (False, True):
        for trajectory in request.trajectories[: 2 if shared else 1]:
            trajectory.tools = [{"function": {"name": "lonely"}}]
        transcript = transcribe(request, [0, 1], view="actions_first")
        assert ("lonely" in transcript.context) is shared
        assert sum("lonely" in body for body in transcript.bodies) == (0 if shared else 1)
