"""Servers that die, hang and return, over TCP: what the run asks them, and in which order."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.membership import NotEnoughServers
from podium_trainer.samplers.stream.stream import WeightStream
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_requests import Weights
from podium_trainer.samplers.vllm_server import VllmServer
from podium_trainer.samplers.weight_sync import FullReload, LoraSwap
from tests.trainer.fake_vllm import FakeVllm, fault
from tests.trainer.samplers.vllm_sampling import one_line, sample_versions, sampling
from tests.trainer.tiny import tiny_llama, tiny_policy

REQUEST = Request([1, 2, 3], 2, 3)
GENERATE, RELOAD, LOAD = "/inference/v1/generate", "/collective_rpc", "/v1/load_lora_adapter"
UPDATE, FINISH = "/update_weights", "/finish_weight_update"
GIVES: dict[type, str] = {FullReload: RELOAD, LoraSwap: LOAD, WeightStream: UPDATE}
Sync = FullReload | LoraSwap | WeightStream


class Pair:
    """Two servers that can be killed and started again at the same address, and their sampler."""

    def __init__(self, stack: ExitStack) -> None:
        self.fakes = FakeVllm(num_workers=1), FakeVllm(num_workers=1)
        self.lives = [stack.enter_context(ExitStack()) for _ in self.fakes]
        for index in (0, 1):
            self.start(index)
        self.notes: list[str] = []
        self.sampler = stack.enter_context(
            sampling(*self.fakes, notes=self.notes, timeout_s=60.0, wait_s=0.3)
        )

    def start(self, index: int) -> None:
        self.fakes[index].calls.clear()
        self.lives[index].enter_context(self.fakes[index].serving())

    def kill(self, index: int) -> None:
        self.lives[index].close()

    @property
    def num_ready(self) -> int:
        return self.sampler.servers.num_ready


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


@pytest.fixture(params=["full", "lora", "stream"])
def sync(pair: Pair, tmp_path: Path, request: pytest.FixtureRequest) -> Sync:
    if request.param == "full":
        return FullReload(tiny_policy(), pair.sampler, tmp_path, timeout_s=5.0)
    if request.param == "stream":
        return WeightStream(tiny_policy(), pair.sampler, timeout_s=5.0)
    model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear"))
    return LoraSwap(tiny_policy(model), pair.sampler, tmp_path, timeout_s=5.0)


def wait_for(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def versions(sampler: VllmSampler, count: int = 8) -> set[int]:
    """Return the versions of the tokens of some completions."""
    groups = sampler.sample([REQUEST] * count, seed=0)
    assert [len(group) for group in groups] == [2] * count
    return {v for group in groups for c in group for v in c.policy_versions}


def pushes(fake: FakeVllm) -> list[int]:
    """Return the versions that a server was told to take."""
    names = {
        RELOAD: lambda body: body["kwargs"]["weights_path"],
        LOAD: lambda body: body["lora_path"],
        FINISH: lambda body: body["weight_version"],
    }
    found = [names[path](body) for path, body in fake.calls if path in names]
    return [int(name.rsplit("-", 1)[1]) for name in found]


def test_a_server_killed_before_a_push_does_not_stop_it(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    pair.kill(0)
    sync.push(1)
    assert versions(pair.sampler) == {1}
    wait_for(lambda: pair.num_ready == 1)
    assert any(f"{pair.fakes[0].url} is gone: " in note for note in pair.notes)


def test_a_returning_server_has_new_weights_before_it_is_asked(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    pair.kill(0)
    sync.push(1)
    wait_for(lambda: pair.num_ready == 1)
    pair.start(0)
    with ThreadPoolExecutor(1) as threads:
        sampled = threads.submit(lambda: [versions(pair.sampler, 2) for _ in range(30)])
        wait_for(lambda: pair.num_ready == 2)
        assert sampled.result() == [{1}] * 30
    assert versions(pair.sampler, 20) == {1}
    fake = pair.fakes[0]
    assert pushes(fake) == [1]
    probes = 1 + next(i for i, path in enumerate(fake.paths) if path in GIVES.values())
    asked = [body for path, body in fake.calls[:probes] if path == GENERATE]
    assert all(body["token_ids"] == [1, 2, 3] and body["model"] == "policy" for body in asked)
    assert fake.paths[probes:].count(GENERATE) > 0
    assert pair.notes[-1] == f"vLLM server {fake.url} is ready"


def test_a_server_that_moves_has_new_weights_before_it_is_asked(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    pair.kill(0)
    sync.push(1)
    elsewhere, old = FakeVllm(num_workers=1), pair.fakes[0].url
    with elsewhere.serving():
        pair.sampler.servers.move(0, elsewhere.url)
        wait_for(lambda: pair.num_ready == 2)
        assert pushes(elsewhere) == [1]
        assert versions(pair.sampler, 20) == {1}
        assert elsewhere.paths[-1] == GENERATE
    assert f"vLLM server {old} is gone: it has been started again at {elsewhere.url}" in pair.notes
    assert f"vLLM server {elsewhere.url} is ready" in pair.notes


def test_work_on_a_server_that_moves_is_done_elsewhere(pair: Pair) -> None:
    pair.fakes[0].faults[GENERATE].extend([30.0] * 20)
    with ThreadPoolExecutor(1) as threads:
        sampled = threads.submit(lambda: versions(pair.sampler))
        wait_for(lambda: GENERATE in pair.fakes[0].paths)
        pair.sampler.servers.move(0, "http://127.0.0.1:9")
        assert sampled.result(20) == {0}
    pair.fakes[0].release.set()


def test_a_server_killed_during_a_push_gets_it_later(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    path = GIVES[type(sync)]
    pair.fakes[0].calls.clear()
    pair.fakes[0].faults[path].append(30.0)
    thread = threading.Thread(target=sync.push, args=(1,))
    thread.start()
    wait_for(lambda: path in pair.fakes[0].paths)
    pair.kill(0)
    thread.join(20)
    assert not thread.is_alive()
    assert versions(pair.sampler) == {1}
    pair.start(0)
    wait_for(lambda: pair.num_ready == 2)
    assert pushes(pair.fakes[0])[-1] == 1


def test_a_push_that_fails_is_tried_again_in_the_background(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    path = GIVES[type(sync)]
    pair.fakes[0].faults[path].extend([fault(500), fault(500)])
    sync.push(1)
    assert versions(pair.sampler) == {1}
    wait_for(lambda: pair.num_ready == 2)
    num_failed = 0 if path == UPDATE else 2  # a stream has told no name before it fails
    assert pushes(pair.fakes[0]) == [0, *[1] * (num_failed + 1)]
    assert not pair.fakes[0].is_paused


def test_work_on_a_server_that_dies_is_done_by_the_other(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    for fake in pair.fakes:
        fake.faults[GENERATE].extend([30.0] * 4)
    with ThreadPoolExecutor(1) as threads:
        sampled = threads.submit(versions, pair.sampler)
        wait_for(lambda: all(fake.paths.count(GENERATE) == 4 for fake in pair.fakes))
        pair.kill(0)
        pair.fakes[1].release.set()
        assert sampled.result() == {0}
    assert pair.fakes[1].paths.count(GENERATE) == 8


def test_a_server_that_hangs_is_gone_until_it_answers(pair: Pair, tmp_path: Path) -> None:
    sync = FullReload(tiny_policy(), pair.sampler, tmp_path, timeout_s=0.5)
    sync.push(0)
    pair.fakes[0].is_hung = True
    assert versions(pair.sampler) == {0}
    assert pair.num_ready == 1
    assert any(f"{pair.fakes[0].url} is gone: " in note for note in pair.notes)
    sync.push(1)
    assert versions(pair.sampler) == {1}
    pair.fakes[0].is_hung = False
    wait_for(lambda: pair.num_ready == 2)
    assert versions(pair.sampler, 20) == {1}
    assert pushes(pair.fakes[0]) == [0, 1]


def test_a_server_that_hangs_in_a_push_does_not_stop_it(pair: Pair, tmp_path: Path) -> None:
    sync = FullReload(tiny_policy(), pair.sampler, tmp_path, timeout_s=0.5)
    sync.push(0)
    pair.fakes[0].is_hung = True
    sync.push(1)
    assert versions(pair.sampler) == {1}
    assert pair.num_ready == 1


@pytest.mark.parametrize("version", [0, 3])
def test_a_server_that_restarts_unseen_is_brought_up(pair: Pair, sync: Sync, version: int) -> None:
    sync.push(version)
    pair.fakes[0].label, pair.fakes[0].adapters = "default", {}
    assert versions(pair.sampler, 20) == {version}
    wait_for(lambda: pair.num_ready == 2 and len(pushes(pair.fakes[0])) == 2)
    assert any("has restarted" in note for note in pair.notes)


def test_a_look_that_fails_is_not_the_last(pair: Pair) -> None:
    class Failing:
        weights = Weights(1, "policy")
        looks = 0

        async def find(self, server: VllmServer) -> str:
            self.looks += 1
            raise ZeroDivisionError("by nobody expected")

        async def give(self, server: VllmServer) -> None:
            raise AssertionError

    membership = pair.sampler.servers.membership
    push = Failing()
    membership._is_begun, membership.push = True, push
    wait_for(lambda: push.looks > 4)
    assert any("has met ZeroDivisionError: by nobody expected" in note for note in pair.notes)
    assert len(pair.notes) == 2


def test_a_server_that_returns_with_another_model_is_refused(pair: Pair, sync: Sync) -> None:
    sync.push(0)
    pair.kill(0)
    sync.push(1)
    pair.fakes[0].root = "/models/another"
    pair.start(0)
    wait_for(lambda: any("'/models/another', not '/models/policy'" in n for n in pair.notes))
    assert versions(pair.sampler, 20) == {1}
    assert pair.fakes[0].calls == []


def test_the_only_server_may_restart(tmp_path: Path) -> None:
    fake, notes = FakeVllm(), list[str]()
    with ExitStack() as stack:
        with fake.serving():
            sampler = stack.enter_context(sampling(fake, notes=notes, wait_s=30.0))
            sync = FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0)
            sync.push(0)
        sync.push(1)
        with ThreadPoolExecutor(1) as threads:
            sampled = threads.submit(sample_versions, sampler)
            wait_for(lambda: bool(notes))
            fake.calls.clear()
            stack.enter_context(fake.serving())
            assert sampled.result() == [1, 1, 1]
    assert pushes(fake) == [1]


def test_too_few_servers_end_the_run_in_one_line(pair: Pair) -> None:
    pair.kill(0)
    pair.kill(1)
    started = time.monotonic()
    with pytest.raises(NotEnoughServers, match=r"0 of 2 .*sampler\.wait_s = 0\.3 s") as caught:
        sample_versions(pair.sampler)
    assert all(fake.url in one_line(caught) for fake in pair.fakes)
    assert time.monotonic() - started < 20


def test_a_server_that_is_missing_at_the_start_may_come_later(tmp_path: Path) -> None:
    late, here = FakeVllm(), FakeVllm()
    with late.serving():
        pass
    with here.serving(), sampling(late, here) as sampler:
        FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0).push(0)
        assert sampler.servers.num_ready == 1
        with late.serving():
            wait_for(lambda: sampler.servers.num_ready == 2)
            assert pushes(late) == [0]


def test_two_runs_do_not_fight_over_a_server(tmp_path: Path) -> None:
    with FakeVllm().serving() as fake, sampling(fake, wait_s=0.3) as sampler:
        FullReload(tiny_policy(), sampler, tmp_path, timeout_s=5.0).push(0)
        fake.label = "other-9"
        with pytest.raises(SamplerError, match=r"'other-9'.* give each run servers of its own"):
            sample_versions(sampler)
        assert pushes(fake) == [0]
