"""The trainer with a real vLLM server and a real service: new weights arrive, numbers agree."""

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from podium_trainer.config import ModelConfig, SamplerConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Completion, Request
from podium_trainer.run.checks.parity import check_parity
from podium_trainer.run.cli import run
from podium_trainer.samplers.vllm import VllmSampler
from podium_trainer.samplers.vllm_check import open_servers
from podium_trainer.samplers.weight_sync import FullReload
from tests.integration.conftest import need
from tests.integration.vllm_server import vllm_server
from tests.service.process import running

pytestmark = pytest.mark.vllm

SERVER = [
    *("--enable-lora", "--max-lora-rank", "16", "--enable-scale-out"),
    *("--logprobs-mode", "processed_logprobs"),
]
# Checks that a model this small meets now and then, so that nearly every group has signal.
JUDGE = r"""
default_judge: sums
judges:
  sums:
    kind: checks
    criteria:
      - {check: matches_reference, weight: 3}
      - {check: regex, pattern: '^\d+$'}
      - {check: regex, pattern: '^[1-5]'}
      - {check: max_words, words: 1}
"""
float32 = pytest.mark.parametrize("url", ["float32"], indirect=True)
bfloat16 = pytest.mark.parametrize("url", ["bfloat16"], indirect=True)


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a server of the policy in the type that the test asks for; one at a time."""
    python, model = need("PODIUM_VLLM_PYTHON"), need("PODIUM_SMOLLM2")
    with vllm_server(
        python, model, served_name="policy", extra_args=[*SERVER, "--dtype", request.param]
    ) as served:
        yield served.removesuffix("/v1")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield a Podium service with a judge of checks."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "judges.yaml").write_text(JUDGE)
    with running("--config", "judges.yaml", cwd=folder) as process:
        assert process.url
        yield process.url


def train(
    out: Path, url: str, service: str, *flags: str, max_staleness: int = 0
) -> list[dict[str, float]]:
    """Train on addition; the rows of the steps."""
    status = run([
        "addition", "--out", str(out), "--service", service, "--model", str(need("PODIUM_SMOLLM2")),
        "--model.autocast", "false", "--sampler", "vllm", "--sampler.urls", url,
        "--rollout.prompts_per_step", "2", "--rollout.max_refills", "5", "--eval.every", "0",
        "--optimizer.warmup_steps", "0", "--rollout.max_staleness", str(max_staleness), *flags,
    ])  # fmt: skip
    assert status == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"]]


def served_models(url: str) -> list[str]:
    answer = httpx.get(f"{url}/v1/models", trust_env=False).json()
    return [model["id"] for model in answer["data"]]


def assert_ahead(rows: list[dict[str, float]]) -> None:
    """Assert that all groups of three steps were trained on, and no token was two updates old."""
    assert [row["policy_version"] for row in rows] == [1, 2, 3]
    assert all(row["groups_failed"] == 0 for row in rows)
    assert all(row["staleness_max"] <= 1 for row in rows)


@float32
def test_an_adapter_is_swapped_while_the_next_step_is_gathered(
    url: str, service: str, tmp_path: Path
) -> None:
    """The first test, because an adapter is made for the weights that the server began with."""
    rows = train(tmp_path, url, service, "--steps", "3", "--model.lora.rank", "8", max_staleness=1)
    assert_ahead(rows)


@float32
@pytest.mark.parametrize(
    ("lr", "flags"),
    [("1e-3", ["--model.lora.rank", "8"]), ("2e-5", [])],
    ids=["adapters", "all weights"],
)
def test_a_run_trains_on_the_tokens_that_vllm_sampled(
    url: str, service: str, tmp_path: Path, lr: str, flags: list[str]
) -> None:
    before = served_models(url)
    rows = train(tmp_path, url, service, "--steps", "3", "--optimizer.lr", lr, *flags)
    assert [row["policy_version"] for row in rows] == [1, 2, 3]
    assert all(row["groups_failed"] == 0 for row in rows)
    for row in rows:  # from the second step on, weights that were synced
        assert row["max_ratio"] == pytest.approx(1.0, abs=1e-2)
        assert row["k3"] < 1e-5
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["version-000003"]
    new = set(served_models(url)) - set(before)
    assert [name.rsplit("-", 1)[1] for name in new] == (["3"] if flags else [])


@float32
def test_weights_are_replaced_while_the_next_step_is_gathered(
    url: str, service: str, tmp_path: Path
) -> None:
    rows = train(tmp_path, url, service, "--steps", "3", max_staleness=1)
    assert_ahead(rows)


@float32
def test_weights_are_replaced_while_sequences_are_in_flight(url: str, tmp_path: Path) -> None:
    model = ModelConfig(path=str(need("PODIUM_SMOLLM2")), autocast=False)
    policy = load_policy(model, temperature=1.0)
    prompt = policy.chat.encode(
        policy.chat.render([{"role": "user", "content": "Tell me a very long story."}], None)
    )
    with open_servers(SamplerConfig(kind="vllm", urls=[url])) as servers:
        sampler = VllmSampler(servers, stop_ids=[], temperature=1.0, timeout_s=900)
        sync = FullReload(policy, sampler, tmp_path, timeout_s=60)
        sync.push(0)
        disturb(policy)
        groups: list[list[Completion]] = []
        thread = threading.Thread(
            target=lambda: groups.extend(sampler.sample([Request(prompt, 2, 600)], seed=0))
        )
        thread.start()
        wait_until_running(url)
        sync.push(1)
        [fresh] = sampler.sample([Request(prompt, 1, 8)], seed=0)
        thread.join()
        parity = check_parity(policy, sampler, [prompt], bound=1e-3)
    spans = [completion.policy_versions for completion in groups[0]]
    assert any(set(versions) == {0, 1} for versions in spans)
    assert all(versions == sorted(versions) for versions in spans)
    assert set(fresh[0].policy_versions) == {1}
    assert parity.max_ratio == pytest.approx(1.0, abs=1e-2)
    print(f"\nparity after a swap in flight: {parity}")


def wait_until_running(url: str) -> None:
    """Wait until the server decodes something, as its metrics say."""
    ends_at = time.monotonic() + 60
    pattern = re.compile(r"^vllm:num_requests_running\S* ([1-9]\S*)$", re.MULTILINE)
    while not pattern.search(httpx.get(f"{url}/metrics", trust_env=False).text):
        assert time.monotonic() < ends_at, "the server never began"
        time.sleep(0.05)


def disturb(policy: Policy) -> None:
    """Change every weight a little."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.002)


@bfloat16
def test_the_update_corrects_for_a_bfloat16_sampler(url: str, service: str, tmp_path: Path) -> None:
    [row] = train(
        tmp_path, url, service, "--steps", "1", "--loss.importance_cap", "1",
        "--sampler.parity_bound", "0.3", "--loss.sequence_ratio_bounds", "[0.99, 1.01]",
        "--rollout.prompts_per_step", "8",  # so that some sequences are masked, and not all
    )  # fmt: skip
    print("\nbfloat16 sampler:", {name: row[name] for name in ("k3", "max_ratio", "grad_norm")})
    assert row["k3"] > 1e-5
    assert row["max_ratio"] > 1.01
    assert row["effective_share"] < 1
    assert row["masked_sequences"] > 0
    assert row["grad_norm"] > 0


@bfloat16
def test_a_sampler_outside_the_parity_bound_stops_the_run(
    url: str, service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError):
        train(tmp_path, url, service, "--steps", "1", "--sampler.parity_bound", "1e-4")
    line = capsys.readouterr().err.splitlines()[-1]
    with capsys.disabled():
        print("\n", line)
    assert "sampler and policy disagree" in line
    assert "their --dtype with model.dtype" in line
    assert not (tmp_path / "metrics.jsonl").exists()
