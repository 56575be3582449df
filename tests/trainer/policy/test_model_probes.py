"""Model probes against models whose answers are known."""

import pytest
import torch

from podium_trainer.policy.model_probes import can_share_prefixes, has_plain_head
from tests.trainer.tiny import MODELS, seeded


@pytest.mark.parametrize("name", ["llama", "gemma2, capped logits", "cohere, scaled logits"])
def test_model_probes_leave_the_model_mode_as_it_was(name: str) -> None:
    model = seeded(MODELS[name]).train()
    can_share_prefixes(model)
    has_plain_head(model)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_weak_cap_on_bfloat16_logits_is_detected() -> None:
    make = MODELS["gemma2, capped logits"]
    model = seeded(make).to(torch.bfloat16)
    model.config.final_logit_softcapping = 30.0
    assert not has_plain_head(model)
    model.config.final_logit_softcapping = None
    assert has_plain_head(model)
