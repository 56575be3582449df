"""The routes under `/bridge`, over TCP: groups, keys, retries, failures in trainers' words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.bridge import BridgeClient
from podium_service.http.service import Service
from tests.fakes import ScriptedJudge, Step, by_length, fails, scores, until
from tests.service.helpers import add_new_key, chat, judges_file, llm, service
from tests.service.process import running, running_with
from tests.service.tcp import serving

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)


@asynccontextmanager
async def bridge(
    tmp_path: Path, step: Step = GOOD, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service, ScriptedJudge]]:
    """Yield a client over TCP, the service, and its judge `main`, which always takes this step."""
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, **settings)) as opened,
        serving(opened) as url,
        httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http,
    ):
        yield http, opened, judge


def member(name: str, answer: str, size: int = 2, **fields: Any) -> dict[str, Any]:
    trajectory = {"id": name, "messages": chat(answer)}
    return {"group_id": "step-1/7", "group_size": size, "trajectory": trajectory, **fields}


def openrlhf(answer: str, label: str | None = "5") -> dict[str, Any]:
    prompt = "<|user|>What is 2 + 3?<|assistant|>"
    query = f"<s>{prompt}{answer}<|im_end|>\n"
    return {"query": [query], "prompts": [prompt], "labels": [label]}


async def test_members_get_the_ranking_of_their_group(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (http, _, judge):
        answers = await asyncio.gather(
            http.post("/bridge/join", json=member("0", "5")),
            http.post("/bridge/join", json=member("1", "five")),
        )
        again = await http.post("/bridge/join", json=member("1", "five"))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json() == again.json()
    ranking = answers[0].json()
    assert ranking["group_id"] == "step-1/7"
    assert {each["id"]: each["reward"] for each in ranking["results"]} == {"0": 0, "1": 1}
    assert len(judge.asked) == 4


async def test_the_members_of_two_keys_never_share_a_group(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (http, opened, _):
        _, one = await add_new_key(opened.store, "rank")
        _, two = await add_new_key(opened.store, "rank")
        _, reads = await add_new_key(opened.store, "read")
        refused = await http.post("/bridge/join", json=member("0", "5"), headers=reads)
        assert refused.status_code == 403
        bodies = [member("0", "5", patience_s=0.2), member("1", "five", patience_s=0.2)]
        answers = await asyncio.gather(
            http.post("/bridge/join", json=bodies[0], headers=one),
            http.post("/bridge/join", json=bodies[1], headers=two),
        )
    assert [answer.json()["code"] for answer in answers] == ["group_incomplete"] * 2
    assert [answer.status_code for answer in answers] == [504, 504]


async def test_a_group_counts_once_against_its_keys_limit(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (http, opened, _):
        _, headers = await add_new_key(opened.store, "rank", requests_per_minute=1)
        for step, status in ((1, 200), (2, 429)):
            answers = await asyncio.gather(
                *(
                    http.post(
                        "/bridge/join",
                        json=member(name, text) | {"group_id": f"step-{step}"},
                        headers=headers,
                    )
                    for name, text in (("0", "5"), ("1", "five"))
                )
            )
            assert [answer.status_code for answer in answers] == [status] * 2


async def test_a_trainer_that_sets_only_a_url_sends_its_key_in_it(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (http, opened, _):
        _, headers = await add_new_key(opened.store, "rank")
        key = headers["Authorization"].removeprefix("Bearer ")
        url = "/bridge/openrlhf?group_size=1"
        good = await http.post(url, json=openrlhf("5"), auth=("podium", key))
        bad = await http.post(url, json=openrlhf("5"), auth=("podium", "pk_no_no"))
        broken = await http.post(url, json=openrlhf("5"), headers={"Authorization": "Basic ?"})
    assert [good.status_code, bad.status_code, broken.status_code] == [200, 401, 401]


async def test_openrlhf_is_answered_in_its_own_words(tmp_path: Path) -> None:
    url = "/bridge/openrlhf?group_size=2&judge=main"
    async with bridge(tmp_path, price={"prompt": 1.0, "completion": 1.0}) as (http, _, judge):
        answers = await asyncio.gather(
            http.post(url, json=openrlhf("5")), http.post(url, json=openrlhf("five"))
        )
    first, second = (answer.json() for answer in answers)
    assert (first["rewards"], first["scores"], second["rewards"]) == (0, 0, 1)
    assert first["extra_logs"]["podium/groups_failed"] == 0
    assert first["extra_logs"]["podium/reliability"] == 1
    assert first["extra_logs"]["podium/judge_tokens"] == 4 * 110 / 2
    assert "im_end" not in "".join(judge.asked[0].shown.values())
    assert "<s>" not in judge.asked[0].text


async def test_a_prompt_without_text_has_all_of_the_query_after_it(tmp_path: Path) -> None:
    bodies = [{"query": [text], "prompts": [""]} for text in ("5", "five")]
    async with bridge(tmp_path) as (http, _, _):
        url = "/bridge/openrlhf?group_size=2"
        answers = await asyncio.gather(*(http.post(url, json=body) for body in bodies))
    assert [answer.json()["rewards"] for answer in answers] == [0, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"query": ["2 5", "2 6"]},  # one of them would get no reward
        {"prompts": ["2", "2"]},
        {"labels": ["5", "6"]},  # it would be judged without a reference
    ],
)
async def test_lists_of_openrlhf_that_differ_in_length_are_refused(
    tmp_path: Path, fields: dict[str, list[str]]
) -> None:
    async with bridge(tmp_path) as (http, _, _):
        url = "/bridge/openrlhf?group_size=1"
        answer = await http.post(url, json=openrlhf("5") | fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "one entry for each sample" in answer.json()["detail"]


async def test_a_label_with_several_answers_is_json_for_the_judge(tmp_path: Path) -> None:
    bodies = [openrlhf(text) | {"labels": [["5", "fünf"]]} for text in ("5", "five")]
    async with bridge(tmp_path) as (http, _, judge):
        url = "/bridge/openrlhf?group_size=2"
        await asyncio.gather(*(http.post(url, json=body) for body in bodies))
    assert '["5", "fünf"]' in judge.asked[0].text


async def test_several_samples_of_one_request_are_a_group(tmp_path: Path) -> None:
    bodies = [openrlhf("5"), openrlhf("five")]
    body = {name: [each[name][0] for each in bodies] for name in bodies[0]}
    async with bridge(tmp_path) as (http, _, _):
        answer = await http.post("/bridge/openrlhf?group_size=2", json=body)
    assert answer.json()["rewards"] == [0, 1]
    assert answer.json()["extra_logs"]["podium/groups_failed"] == [0, 0]


def slime(answer: str, label: str = "5") -> dict[str, Any]:
    prompt = [{"role": "user", "content": "What is 2 + 3?"}]
    return {"prompt": prompt, "response": answer, "label": label}


async def test_slime_gets_a_bare_number(tmp_path: Path) -> None:
    url = "/bridge/slime?group_size=2"
    async with bridge(tmp_path) as (http, _, _):
        answers = await asyncio.gather(
            *(http.post(url, json=slime(text)) for text in ("5", "five"))
        )
    assert [answer.json() for answer in answers] == [0.0, 1.0]


def rollout(text: str, index: int) -> dict[str, Any]:
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
    return {
        "responses_create_params": {"input": "What is 2 + 3?", "temperature": 1.0},
        "response": {"id": "r", "output": output},
        "_ng_task_index": 4,
        "_ng_rollout_index": index,
        "verifier_metadata": {"x": 1},
    }


async def test_nemo_gym_verifies_one_rollout_among_its_group(tmp_path: Path) -> None:
    url = "/bridge/nemo-gym/verify?group_size=2"
    bodies = [rollout("5", 0), rollout("five", 1)]
    async with bridge(tmp_path) as (http, _, _):
        answers = await asyncio.gather(*(http.post(url, json=body) for body in bodies))
        late = await http.post(url, json=bodies[1])
    assert [answer.json()["reward"] for answer in answers] == [0, 1]
    assert late.json() == answers[1].json()
    assert answers[0].json().items() >= bodies[0].items()


async def test_nemo_gym_masks_a_group_that_failed(tmp_path: Path) -> None:
    url = "/bridge/nemo-gym/verify?group_size=2&patience_s=0.05"
    async with bridge(tmp_path) as (http, _, _):
        answer = (await http.post(url, json=rollout("5", 0))).json()
    assert answer["reward"] == 0
    assert answer["mask_sample"]
    assert answer["instance_config"] == {"mask_sample": True}
    assert answer["_ng_failure_class"] == answer["failure_kind"] == "judge_failed"
    assert answer["_ng_failure_judge_error"] == "group_incomplete"


async def test_nemo_gym_compares_a_whole_group(tmp_path: Path) -> None:
    responses = [rollout(text, 0)["response"] for text in ("5", "five", "fifth")]
    body = {"conversation_history": [{"role": "user", "content": "2 + 3?"}]}
    async with bridge(tmp_path) as (http, _, _):
        url = "/bridge/nemo-gym/compare?judge=main"
        answer = await http.post(url, json=body | {"response_objs": responses})
        empty = await http.post(url, json=body | {"response_objs": []})
    assert answer.json()["rewards"] == [0, 0.5, 1]
    assert empty.json()["rewards"] == []


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("openrlhf?group_size=2&anchor=label", lambda text: openrlhf(text, "five")),
        ("slime?group_size=2&anchor=label", lambda text: slime(text, "five")),
        (
            "nemo-gym/verify?group_size=2&anchor=gold",
            lambda text: rollout(text, 0) | {"gold": "five"},
        ),
    ],
)
async def test_a_field_of_the_body_is_the_anchor(tmp_path: Path, url: str, body: Any) -> None:
    bodies = [body("5") | {}, body("fifth!")]
    if "_ng_rollout_index" in bodies[1]:
        bodies[1]["_ng_rollout_index"] = 1
    async with bridge(tmp_path) as (http, _, judge):
        answers = await asyncio.gather(*(http.post(f"/bridge/{url}", json=each) for each in bodies))
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert len(judge.asked[0].shown) == 3  # the two members and the anchor
    first, second = (answer.json() for answer in answers)
    if isinstance(first, float):
        assert (first, second) == (0, 1)
        return
    logs = [each.get("extra_logs", each) for each in (first, second)]
    assert [each["podium/win_rate"] for each in logs] == [0, 1]
    assert logs[0]["podium/judge_tokens"] == 4 * 110 / 2  # the anchor has no share


async def test_the_first_completion_of_a_prompt_is_the_anchor(tmp_path: Path) -> None:
    url = "/bridge/openrlhf?group_size=1&anchor=first%20completion"
    async with bridge(tmp_path) as (http, opened, _):
        _, one = await add_new_key(opened.store, "rank")
        _, two = await add_new_key(opened.store, "rank")
        texts = ("five", "5", "fifth", "five")
        answers = [await http.post(url, json=openrlhf(text), headers=one) for text in texts]
        other = await http.post(url, json=openrlhf("5"), headers=two)
    wins = [answer.json()["extra_logs"]["podium/win_rate"] for answer in answers]
    assert wins == [0.5, 0, 1, 0.5]
    assert other.json()["extra_logs"]["podium/win_rate"] == 0.5  # a key has prompts of its own


async def test_an_anchor_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (http, _, _):
        url = "/bridge/openrlhf?group_size=8&anchor=gold"
        answer = await http.post(url, json=openrlhf("5"))
        full = await http.post("/bridge/openrlhf?group_size=64&anchor=label", json=openrlhf("5"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "'gold'" in answer.json()["detail"]
    assert "label" in answer.json()["detail"]
    assert full.status_code == 422
    assert "64" in full.json()["detail"]


async def test_members_that_join_agree_on_their_anchor(tmp_path: Path) -> None:
    anchor = {"id": "gold", "messages": chat("fift")}
    async with bridge(tmp_path) as (http, opened, _):
        waiting = asyncio.create_task(
            http.post("/bridge/join", json=member("0", "5", anchor=anchor))
        )
        gathering = opened.rendezvous
        assert gathering
        await until(lambda: gathering.count_members() == 1)
        other = await http.post("/bridge/join", json=member("1", "five!"))
        itself = await http.post("/bridge/join", json=member("gold", "five!", anchor=anchor))
        last = await http.post("/bridge/join", json=member("1", "five!", anchor=anchor))
        answer = await waiting
    assert [other.status_code, itself.status_code] == [422, 422]
    assert "anchor" in other.json()["detail"]
    assert answer.json() == last.json()
    ranks = {each["id"]: each["rank"] for each in answer.json()["results"]}
    assert ranks == {"1": 1, "gold": 2, "0": 3}


async def test_nemo_gym_compares_a_group_with_an_anchor(tmp_path: Path) -> None:
    responses = [rollout(text, 0)["response"] for text in ("5", "fifth")]
    body = {"conversation_history": [{"role": "user", "content": "2 + 3?"}], "gold": "five"}
    async with bridge(tmp_path) as (http, _, _):
        url = "/bridge/nemo-gym/compare?anchor=gold"
        answer = await http.post(url, json=body | {"response_objs": responses})
    assert answer.json()["rewards"] == [0, 1]
    assert answer.json()["metrics"]["podium/win_rate"] == 0.5


async def test_a_failed_group_has_equal_rewards_and_three_stop_the_run(tmp_path: Path) -> None:
    url = "/bridge/openrlhf?group_size=2"
    async with bridge(tmp_path, fails(401, "bad key")) as (http, _, _):
        outcomes = []
        for number in range(3):
            answers = await asyncio.gather(
                http.post(url, json=openrlhf("5", f"{number}")),
                http.post(url, json=openrlhf("five", f"{number}")),
            )
            outcomes.append([answer.status_code for answer in answers])
    assert outcomes == [[200, 200], [200, 200], [502, 502]]
    assert answers[0].json()["code"] == "judge_rejected"


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("group_size=1&judge=mian", "unknown_judge", "mian"),
        ("judge=main", "invalid_request", "group_size"),
        ("group_size=8&min_members=9", "invalid_request", "min_members"),
        ("group_size=8&group=8", "invalid_request", "group"),
    ],
)
async def test_a_fault_of_the_url_is_told_at_once(
    tmp_path: Path, query: str, code: str, named: str
) -> None:
    async with bridge(tmp_path) as (http, _, _):
        answer = await http.post(f"/bridge/openrlhf?{query}", json=openrlhf("5"))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert named in answer.json()["detail"]


async def test_a_retry_after_a_timeout_takes_no_second_seat(tmp_path: Path) -> None:
    """OpenRLHF gives up on an attempt, waits a second, and sends the same bytes again."""
    url = "/bridge/openrlhf?group_size=3"
    async with bridge(tmp_path) as (http, opened, _):
        gathering = opened.rendezvous
        assert gathering
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                await http.post(url, json=openrlhf("5"), timeout=httpx.Timeout(5, read=0.1))
            await until(lambda: not gathering.count_members())
        answers = await asyncio.gather(
            *(http.post(url, json=openrlhf(text)) for text in ("5", "five", "fifth"))
        )
    assert [answer.json()["rewards"] for answer in answers] == [0, 0.5, 1]


@pytest.mark.restart
async def test_members_that_come_to_different_workers_meet(tmp_path: Path) -> None:
    """Each member has a new connection, which the kernel gives to either worker."""

    async def join(url: str, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            return await http.post("/bridge/openrlhf?group_size=12", json=body, headers=headers)

    async with ScriptedJudge(always=scores(lambda text: len(text) / 1000)).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url))
        options = ("--workers", "2", "--config", str(config))
        bodies = [openrlhf("a" * (n + 1)) for n in range(12)]
        with running(*options, cwd=tmp_path, PODIUM_API_KEY="a-key") as process:
            assert process.url
            headers = {"Authorization": "Bearer a-key"}
            answers = await asyncio.gather(*(join(process.url, body, headers) for body in bodies))
            refused = await asyncio.gather(*(join(process.url, bodies[0], {}) for _ in range(6)))
            async with httpx.AsyncClient(trust_env=False) as http:
                metrics = (await http.get(f"{process.url}/metrics", headers=headers)).text
    rewards = [answer.json()["rewards"] for answer in answers]
    assert rewards == sorted(rewards)
    assert (rewards[0], rewards[-1]) == (0, 1)
    assert {answer.status_code for answer in refused} == {401}
    assert 'podium_requests_total{route="/bridge/openrlhf",status="200"} 12.0' in metrics


def is_asked(worker: psutil.Process) -> bool:
    return any(each.status == psutil.CONN_ESTABLISHED for each in worker.net_connections("tcp"))


@pytest.mark.restart
async def test_a_gathering_worker_that_dies_loses_no_member(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url))
        options = ("--workers", "2", "--config", str(config))
        with running(*options, cwd=tmp_path) as process:
            workers = psutil.Process(process.pid).children()
            [gatherer] = (each for each in workers if each.cmdline()[-1].isdigit())
            async with BridgeClient(process.url) as client:
                alone = [
                    TrajectoryGroup([Trajectory(name, chat(text))], group_id="g", judge="main")
                    for name, text in (("0", "5"), ("1", "five"))
                ]
                first = asyncio.create_task(client.try_join(alone[0], group_size=2))
                await until(lambda: any(map(is_asked, workers)))
                gatherer.kill()
                await until(lambda: bool(process.logged("worker_died")))
                second = await client.try_join(alone[1], group_size=2)
                assert ((await first).rewards, second.rewards) == ([0], [1])


@pytest.mark.restart
async def test_a_kill_loses_no_verdict_that_was_paid_for(tmp_path: Path) -> None:
    async with ScriptedJudge(always=scores(by_length, delay_s=0.2)).serving() as judge:
        bodies = [member(str(n), "a" * (n + 1), size=3) for n in range(3)]
        async with running_with(tmp_path, main=llm(judge.url)) as (http, process):
            waiting = [asyncio.create_task(http.post("/bridge/join", json=x)) for x in bodies]
            answers = await asyncio.gather(*waiting)
            process.kill()
        num_calls = len(judge.asked)
        with running("--config", "judges.yaml", cwd=tmp_path) as process:
            async with process.client() as http:
                again = await asyncio.gather(
                    *(http.post("/bridge/join", json=body) for body in reversed(bodies))
                )
        assert len(judge.asked) == num_calls
    assert again[0].json()["cached"]
    rewards = [{r["id"]: r["reward"] for r in x.json()["results"]} for x in (answers[0], again[0])]
    assert rewards[0] == rewards[1]
