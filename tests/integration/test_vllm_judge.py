"""A real LLM behind a real server with guided decoding. Its taste is poor; its replies parse."""

from pathlib import Path
from typing import Any

import pytest

from podium_service.errors import JudgeRejected
from podium_service.schemas import RankRequest
from tests.service.helpers import chat, service

pytestmark = [pytest.mark.vllm, pytest.mark.anyio]

QUESTION = "Write one SQL query that counts the singers older than 40."
ANSWERS = [
    "SELECT COUNT(*) FROM singer WHERE age > 40",
    "SELECT name FROM singer WHERE age > 40",
    "SELECT COUNT(*) FROM singer",
    "I cannot see the table, so I will not answer.",
]


def judge(url: str, **settings: Any) -> dict[str, Any]:
    return {
        "model": "judge", "base_urls": [url], "passes": 2, "temperature": 0.7, "timeout_s": 600,
        **settings,
    }  # fmt: skip


def sql_group(group_id: str, answers: list[str]) -> RankRequest:
    trajectories = [
        {"id": f"q{i}", "messages": chat(answer, QUESTION)} for i, answer in enumerate(answers)
    ]
    return RankRequest.model_validate(
        {"group_id": group_id, "trajectories": trajectories, "deadline_s": 900}
    )


@pytest.mark.parametrize("size", [2, 4])
async def test_a_real_llm_ranks_a_group(tmp_path: Path, vllm_url: str, size: int) -> None:
    async with service(tmp_path, main=judge(vllm_url)) as opened:
        ranking = await opened.ranker.rank(sql_group("sql", ANSWERS[:size]))
        calls = await opened.store.read_calls(
            (await opened.store.read_ranking(ranking.id) or {})["key"]
        )
    assert [result.id for result in ranking.results] == [f"q{i}" for i in range(size)]
    assert all(0 <= result.reward <= 1 for result in ranking.results)
    assert all(result.score is not None and 0 <= result.score <= 1 for result in ranking.results)
    assert ranking.usage.calls == len(calls) >= 2
    assert ranking.usage.prompt_tokens > 500
    assert sum(call["verdict"] is not None for call in calls) == 2


async def test_a_group_longer_than_the_context_is_trimmed_and_ranked(
    tmp_path: Path, vllm_url: str
) -> None:
    long = [f"{answer}\n{'-- 1234567890 padding ' * 900}" for answer in ANSWERS[:2]]
    async with service(tmp_path, main=judge(vllm_url, passes=1)) as opened:
        ranking = await opened.ranker.rank(sql_group("long", long))
        calls = await opened.store.read_calls(
            (await opened.store.read_ranking(ranking.id) or {})["key"]
        )
    assert "<trimmed characters=" in calls[0]["messages"][1]["content"]
    assert calls[0]["usage"]["prompt_tokens"] < 4096


async def test_a_model_that_is_not_served_is_a_typed_failure(tmp_path: Path, vllm_url: str) -> None:
    async with service(tmp_path, main=judge(vllm_url, model="another")) as opened:
        with pytest.raises(JudgeRejected, match="another"):
            await opened.ranker.rank(sql_group("none", ANSWERS[:2]))


async def test_the_context_is_read_from_the_server(tmp_path: Path, vllm_url: str) -> None:
    async with service(tmp_path, main=judge(vllm_url)) as opened:
        [report] = await opened.ranker.judges.describe()
        assert await opened.ranker.judges.roster.llms["main"].context_tokens() == 4096
    assert report["answers"]
    assert report["endpoints"][0]["models"] == ["judge"]
