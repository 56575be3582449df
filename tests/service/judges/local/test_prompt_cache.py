"""Reuse of what the context holds of the prompt before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_service.judges.local.generation.prompt_cache import CHUNK_TOKENS, PromptCache, Stopped
from tests.service.judges.local.fake_model import FakeModel

HUNDRED = list(range(100))


def always() -> bool:
    return True


def test_a_prompt_is_evaluated_in_chunks() -> None:
    model = FakeModel()
    assert PromptCache(model).evaluate(HUNDRED, always) == 0
    assert model.batches == [(32, 0), (32, 32), (36, 64)]


def test_the_common_start_of_short_prompts_is_reused() -> None:
    model = FakeModel()
    cache = PromptCache(model)
    cache.evaluate(HUNDRED[:50], always)
    assert cache.evaluate([*HUNDRED[:40], 7, 8], always) == 32


def test_whole_chunks_in_common_are_reused() -> None:
    model = FakeModel()
    cache = PromptCache(model)
    cache.evaluate([*HUNDRED, 1, 2, 3], always)
    model.batches.clear()
    assert cache.evaluate([*HUNDRED, 9], always) == 64
    assert model.batches == [(37, 64)]
    assert model.context == [*HUNDRED, 9]


def test_the_last_token_is_always_evaluated() -> None:
    model = FakeModel()
    cache = PromptCache(model)
    prompt = list(range(2 * CHUNK_TOKENS))
    cache.evaluate(prompt, always)
    model.batches.clear()
    assert cache.evaluate(prompt, always) == CHUNK_TOKENS
    assert model.batches == [(64, 64)]


def test_generated_tokens_are_not_taken_for_a_prompt() -> None:
    model = FakeModel()
    cache = PromptCache(model)
    cache.evaluate(HUNDRED[:63], always)
    model.evaluate([63, 64], 63, wants_logits=True)  # a reply
    assert cache.evaluate(HUNDRED, always) == 32
    assert model.context == HUNDRED


def test_chunks_before_a_stop_are_kept() -> None:
    model = FakeModel()
    cache = PromptCache(model)
    answers = iter([True, True, False])
    with pytest.raises(Stopped):
        cache.evaluate(HUNDRED, lambda: next(answers))
    model.batches.clear()
    assert cache.evaluate(HUNDRED, always) == 64
    assert model.batches == [(36, 64)]


@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.integers(0, 3), st.integers(0, 200)),
        min_size=1,
        max_size=8,
    )
)
def test_the_context_holds_the_last_prompt(prompts: list[tuple[int, int, int]]) -> None:
    model = FakeModel()
    cache = PromptCache(model)
    for size, change, at in prompts:
        prompt = [token % 256 + (change if token == at else 0) for token in range(size)]
        before = list(model.context)
        reused = cache.evaluate(prompt, always)
        assert model.context == prompt
        assert before[:reused] == prompt[:reused]
        assert reused % CHUNK_TOKENS == 0 or reused == 32
        assert reused < size
