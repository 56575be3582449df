"""Numbers in tool calls and tools are shown to a judge as the client wrote them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.evaluation.labelled_groups import read_requests
from podium_service.schemas import RankRequest
from tests.fakes import ScriptedJudge, scores
from tests.service.helpers import client, llm, service
from tests.service.prompts.conversations import group_request, tool_call, transcribe_all, user

HUGE = 2**64 + 1  # the next float is 2**64, and so is the one of 2**64 + 3


def called(arguments: Any) -> list[dict[str, Any]]:
    call = tool_call("answer", "")
    call["tool_calls"][0]["function"]["arguments"] = arguments
    return [user("How many?"), call]


def shown(arguments: Any, other: Any = "{}") -> str:
    """Return the tool call as a judge sees it."""
    bodies = transcribe_all(group_request(called(arguments), called(other))).bodies
    [body] = [body for body in bodies if "answer()" not in body]
    return body.removeprefix('<message role="assistant">\n<tool_call>answer(').split(")<")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"n": 12345678901234567890}', "n=12345678901234567890"),
        ('{"n": 18446744073709551617}', "n=18446744073709551617"),
        ('{"n": -9223372036854775809}', "n=-9223372036854775809"),
        (f'{{"n": {"9" * 300}}}', f"n={'9' * 300}"),
        ('{"n": 0.30000000000000004}', "n=0.30000000000000004"),
        ('{"n": 0.1000000000000000055511}', "n=0.1000000000000000055511"),
        ('{"n": 1.50, "m": 1E5}', "n=1.50, m=1E5"),
        ('{"n": [1.0, {"m": 18446744073709551617}]}', 'n=[1.0,{"m":18446744073709551617}]'),
        ('{"a": "é\\n", "n": 1.5, "t": true, "u": null}', 'a="é\\n", n=1.5, t=true, u=null'),
        ('{"n": 1e400}', '{"n": 1e400}'),  # raw, as is whatever cannot be parsed
        (f'{{"n": {"9" * 5000}}}', f'{{"n": {"9" * 5000}}}'),
        ({"n": HUGE, "m": [-HUGE, {"k": 10**40}]}, f'n={HUGE}, m=[-{HUGE},{{"k":{10**40}}}]'),
        ({"n": 0.1 + 0.2, "t": [True, None]}, "n=0.30000000000000004, t=[true,null]"),
    ],
)
def test_numbers_are_shown_as_they_were_written(arguments: Any, said: str) -> None:
    assert shown(arguments) == said


@given(st.integers())
def test_an_integer_of_any_size_is_exact(number: int) -> None:
    assert shown({"n": number}) == shown(json.dumps({"n": number})) == f"n={number}"


def test_tools_show_integers_of_any_size() -> None:
    tools = [{"function": {"name": "answer", "parameters": {"maximum": HUGE}}}]
    transcript = transcribe_all(group_request(called("{}"), called('{"n": 1}'), tools=tools))
    assert f'"maximum":{HUGE}' in transcript.context


def many(number: str, *, as_object: bool) -> dict[str, Any]:
    arguments = f'{{"n": {number}}}'
    return {
        "id": number,
        "messages": called(json.loads(arguments) if as_object else arguments),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("as_object", [False, True])
async def test_calls_that_differ_beyond_64_bits_are_not_equal(
    tmp_path: Path, as_object: bool
) -> None:
    numbers = [str(HUGE), str(HUGE + 2)]
    body = {
        "trajectories": [many(number, as_object=as_object) for number in numbers],
        "metadata": {"seed": HUGE},
    }
    better = scores(lambda text: 0.9 if numbers[0] in text else 0.1)
    async with (
        ScriptedJudge(always=better).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=2, noise_sd=0.05)) as opened,
        client(opened) as http,
    ):
        answer = await http.post("/rank", json=body)
    first, second = answer.json()["results"]
    assert judge.calls == 2
    assert first["reward"] > second["reward"]


def test_files_of_groups_keep_integers_of_any_size(tmp_path: Path) -> None:
    group = {"trajectories": [many(str(each), as_object=True) for each in (HUGE, HUGE + 2)]}
    path = tmp_path / "groups.jsonl"
    path.write_text(f"{json.dumps(group)}\n" * 2)
    [request, _] = read_requests(path)
    assert isinstance(request, RankRequest)
    assert f"n={HUGE})" in "".join(transcribe_all(request).bodies)
