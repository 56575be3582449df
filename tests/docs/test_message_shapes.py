"""Every message shape that the formats page lists is ranked over HTTP and shown as it says."""

from pathlib import Path

import pytest

from docs.generate.messages import SHAPES, sent
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import client, llm, service

pytestmark = pytest.mark.anyio


async def test_every_listed_shape_is_ranked_as_it_is_shown(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, gates=[], passes=1, vision=True)) as opened,
        client(opened) as http,
    ):
        for what, messages in SHAPES:
            other = {"role": "assistant", "content": "no"}
            group = [{"id": "a", "messages": messages}, {"id": "b", "messages": [other]}]
            answer = await http.post("/rank", json={"trajectories": group, "task": what})
            assert answer.status_code == 200, (what, answer.text)
            assert sent(messages)[1] in judge.asked[-1].text, what
