"""The published OpenAPI document, and the real client against the real app."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from podium.client import AsyncRankClient
from podium.errors import JudgeFailed, RequestRefused, Unauthorized
from podium.groups import Trajectory, TrajectoryGroup
from podium_service import schemas
from podium_service.http.app import create_app
from podium_service.http.openapi import examples, history_examples, people_examples
from podium_service.schemas import history, people
from tests.contract.openapi import PUBLISHED, document
from tests.fakes import ScriptedJudge, by_length, fails, scores
from tests.service.helpers import chat, llm, service

pytestmark = pytest.mark.anyio


def trained(*answers: str, group_id: str | None = None) -> TrajectoryGroup:
    trajectories = [Trajectory(f"t{i}", chat(answer)) for i, answer in enumerate(answers)]
    return TrajectoryGroup(trajectories, group_id=group_id)


async def test_the_published_openapi_document_is_up_to_date() -> None:
    assert PUBLISHED.read_text() == await document(), "the wire changed: run make openapi"


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (schemas.RankRequest, examples.GROUP),
        (schemas.BatchRequest, examples.BATCH),
        (schemas.Ranking, examples.RANKING),
        (schemas.Problem, examples.PROBLEM),
        (schemas.KeyRequest, examples.KEY_REQUEST),
        (schemas.KeyChange, examples.KEY_CHANGE),
        (schemas.KeyStatus, examples.KEY),
        (schemas.NewKey, examples.NEW_KEY),
        (schemas.SpendReport, examples.SPEND),
        (schemas.BatchLine, examples.LINE),
        (schemas.JoinRequest, examples.MEMBER),
        (history.RankingPage, history_examples.RANKING_PAGE),
        (history.RankingDetail, history_examples.RANKING_DETAIL),
        (history.CallList, history_examples.CALL_LIST),
        (history.RunPage, history_examples.RUN_PAGE),
        (history.RunDetail, history_examples.RUN_DETAIL),
        (people.NoteRequest, people_examples.NOTE_REQUEST),
        (people.NoteList, people_examples.NOTE_LIST),
        (people.OrderRequest, people_examples.ORDER_REQUEST),
        (people.OrderList, people_examples.ORDER_LIST),
    ],
)
def test_each_published_example_is_valid(model: type[BaseModel], example: dict[str, Any]) -> None:
    validated = model.model_validate(example)
    assert validated.model_dump(mode="json", exclude_unset=True).keys() == example.keys()


async def test_operations_have_short_names_and_ask_for_a_key() -> None:
    paths = json.loads(await document())["paths"]
    operations = {op["operationId"]: op for path in paths.values() for op in path.values()}
    names = {
        "livez", "readyz", "metrics", "rank", "rank_batch", "get_ranking", "list_judges",
        "list_keys", "create_key", "edit_key", "revoke_key", "join_group", "bridge_openrlhf",
        "bridge_slime", "bridge_nemo_gym_verify", "bridge_nemo_gym_compare", "list_rankings",
        "get_calls", "list_runs", "get_run", "get_spend", "list_notes", "write_note",
        "remove_note", "list_orders", "keep_order", "remove_order",
    }  # fmt: skip
    assert operations.keys() == names | {f"v1_{name}" for name in names}
    unguarded = {name for name, op in operations.items() if not op["security"]}
    assert unguarded == {"livez", "readyz", "v1_livez", "v1_readyz"}
    answer = operations["list_judges"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/JudgeList"}


async def test_the_client_gets_rewards_in_the_order_of_its_request(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        AsyncRankClient("http://[::1]", transport=httpx.ASGITransport(create_app(opened))) as ask,
    ):
        reward = await ask.rank(trained("longest of all", "5", "five"))
    assert reward.rewards == [1, 0, 0.5]
    assert reward.mask
    assert reward.ranking is not None
    assert reward.ranking.usage is not None
    assert reward.ranking.usage.calls == 4


async def test_failed_groups_are_masked_and_not_scored(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        AsyncRankClient("http://[::1]", transport=httpx.ASGITransport(create_app(opened))) as ask,
    ):
        good, bad, good_too = await ask.rank_many(
            [trained("5", "five"), trained(), trained("6", "sixth")]
        )
    assert [good.mask, bad.mask, good_too.mask] == [True, False, True]
    assert bad.rewards is None
    assert isinstance(bad.error, RequestRefused)
    assert good.rewards == good_too.rewards == [0, 1]


async def test_messages_of_any_shape_are_sent_unchanged(tmp_path: Path) -> None:
    call = {"function": {"name": "look", "arguments": {"n": 2**70}}}
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "name": "look", "content": [{"type": "text", "text": "here"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "here"}], "tool_calls": []},
    ]
    numbered = [Trajectory(1, messages), Trajectory(2, chat("there"))]  # type: ignore[arg-type]
    group = TrajectoryGroup(numbered, group_id=7, reference=8)  # type: ignore[arg-type]
    assert group.to_wire()["trajectories"][0]["messages"] is messages
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        AsyncRankClient("http://[::1]", transport=httpx.ASGITransport(create_app(opened))) as ask,
    ):
        reward = await ask.rank(group)
        [alone] = await ask.rank_many([trained("5")])
    assert reward.rewards == [1, 0]
    assert f"look(n={2**70})" in judge.asked[0].text
    assert alone.ranking is not None
    assert (alone.rewards, alone.ranking.basis) == ([0.5], "alone")


async def test_a_failing_judge_is_a_typed_error_of_the_client(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401, "bad key")).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        AsyncRankClient("http://[::1]", transport=httpx.ASGITransport(create_app(opened))) as ask,
    ):
        with pytest.raises(JudgeFailed) as caught:
            await ask.rank(trained("5", "five"))
    assert caught.value.code == "judge_rejected"
    assert not caught.value.retryable


async def test_the_client_sends_its_key(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        transport = httpx.ASGITransport(create_app(opened, api_keys=["pk-1"]))
        group = trained("5", "five")
        async with AsyncRankClient("http://[::1]", api_key="no", transport=transport) as ask:
            with pytest.raises(Unauthorized):
                await ask.rank(group)
        async with AsyncRankClient("http://[::1]", api_key="pk-1", transport=transport) as ask:
            with pytest.raises(RequestRefused, match="reference"):
                await ask.rank(group)
