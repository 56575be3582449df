"""Why one request got no completions: no answer, a refusal, or a logprob that is not finite."""

import math

import pytest
import torch

from podium_trainer.policy.samples import Request
from podium_trainer.samplers import SamplingFailed
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.samplers.vllm_requests import COMPLETIONS, GENERATE
from tests.trainer.fake_vllm import Answer, FakeVllm, Wire, fault
from tests.trainer.samplers.vllm_sampling import sampling
from tests.trainer.tiny import tiny_llama, tiny_policy

REQUEST = Request([1, 2, 3], 1, 3)


def with_logprob(value: float) -> Wire:
    """Return answers of both endpoints with a logprob of this value."""
    content = [{"token_id": 11, "logprob": value}]
    logprobs = {"content": content, "token_logprobs": [value]}
    choice = {"index": 0, "finish_reason": "length", "token_ids": [11], "logprobs": logprobs}
    return {"choices": [choice]}


ANSWERS: dict[str, tuple[Answer | float, str]] = {
    "no answer": (30.0, "unanswered"),
    "too long a prompt": (fault(400, "the prompt has 9 tokens"), "refused"),
    "another form": ((200, [1]), "refused"),
    "NaN": ((200, with_logprob(math.nan)), "not_finite"),
    "minus infinity": ((200, with_logprob(-math.inf)), "not_finite"),
    "what vLLM writes for both": ((200, with_logprob(-9999.0)), "not_finite"),
}


@pytest.mark.parametrize("scale_out", [True, False])
@pytest.mark.parametrize("name", ANSWERS)
def test_each_failure_of_a_server_has_its_cause(name: str, scale_out: bool) -> None:
    answer, cause = ANSWERS[name]
    with (
        FakeVllm(scale_out=scale_out).serving() as fake,
        sampling(fake, timeout_s=0.3) as sampler,
    ):
        fake.faults[GENERATE if scale_out else COMPLETIONS].append(answer)
        with pytest.raises(SamplingFailed) as caught:
            sampler.sample([REQUEST], seed=0)
        fake.release.set()
    assert caught.value.cause == cause
    assert "\n" not in str(caught.value)


def test_a_policy_with_broken_weights_has_no_finite_logprob() -> None:
    policy = tiny_policy(tiny_llama())
    with torch.no_grad():
        policy.parameters()[0].fill_(math.nan)
    with pytest.raises(SamplingFailed, match="its weights are broken") as caught:
        LocalSampler(policy, temperature=1.0).sample([REQUEST], seed=0)
    assert caught.value.cause == "not_finite"
