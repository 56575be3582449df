"""One reply, token by token."""

from math import exp, log

import pytest

from podium_service.judges.local.generation.generator import Generated, Generator, Task
from podium_service.judges.local.generation.prompt_cache import Stopped
from podium_service.judges.local.generation.sampling import Sampling
from tests.service.judges.local.fake_model import BEGIN, END, LIKELY, NUM_TOKENS, FakeModel

PROMPT = [BEGIN, *b"assistant\n"]
TROPHY = "\U0001f3c6"


def generate(reply: bytes, wanted: int = 1000, **task: object) -> Generated:
    """Generate with a model that replies so; the reply is wanted for so many evaluations."""
    settings = {"max_tokens": 100, "sampling": Sampling(temperature=0), **task}
    answers = iter([True] * wanted)
    generator = Generator(FakeModel(lambda prompt: reply))
    return generator.generate(
        Task(PROMPT, **settings),  # type: ignore[arg-type]
        lambda: next(answers, False),
    )


def test_a_reply_ends_with_the_turn() -> None:
    reply = generate(b"yes")
    assert (reply.text, reply.finish_reason, reply.num_tokens) == ("yes", "stop", 4)
    assert reply.tokens == []


def test_a_reply_that_reaches_its_cap_is_cut_off() -> None:
    reply = generate(b"yes", max_tokens=2)
    assert (reply.text, reply.finish_reason, reply.num_tokens) == ("ye", "length", 2)


def test_log_probabilities_are_of_the_whole_vocabulary() -> None:
    reply = generate(b"y", top_logprobs=3)
    [token] = reply.tokens
    expected = LIKELY - log(exp(LIKELY) + NUM_TOKENS - 1)
    assert token.chosen.logprob == pytest.approx(expected)
    assert [each.piece for each in token.alternatives] == [b"y", b"\0", b"\1"]
    assert token.alternatives[1].logprob == pytest.approx(expected - LIKELY)


def test_a_character_belongs_to_the_last_of_its_tokens() -> None:
    reply = generate(f"a{TROPHY}b".encode(), top_logprobs=0)
    assert reply.text == f"a{TROPHY}b"
    assert [token.text for token in reply.tokens] == ["a", "", "", "", TROPHY, "b"]


def test_half_a_character_at_the_end_is_dropped() -> None:
    reply = generate(f"a{TROPHY}".encode(), max_tokens=3)
    assert reply.text == "a"


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert generate(b"a\xffb").text == "a�b"


def test_a_stop_text_is_cut_off_also_across_tokens() -> None:
    reply = generate(b"A.\nEND", stop=["\nEN", "D"], top_logprobs=1)
    assert (reply.text, reply.finish_reason, reply.num_tokens) == ("A.", "stop", 5)
    assert [token.text for token in reply.tokens] == ["A", "."]


def test_a_control_token_of_the_model_is_not_text() -> None:
    model = FakeModel()
    model.control_tokens = {**model.control_tokens, "yes": ord("y")}
    sampling = Sampling(temperature=0)
    reply = Generator(model).generate(Task(PROMPT, 10, sampling), lambda: True)
    assert (reply.text, reply.num_tokens) == ("es", 4)


def test_a_reply_that_is_no_longer_wanted_stops() -> None:
    with pytest.raises(Stopped):
        generate(b"yes", wanted=2)


def test_the_same_seed_gives_the_same_reply() -> None:
    def reply(seed: int) -> str:
        return generate(b"yes" * 30, sampling=Sampling(temperature=2.0, seed=seed)).text

    # A drawn token that is no part of the script makes the fake go on with the script.
    assert reply(1) == reply(1)
    assert len({reply(seed) for seed in range(5)}) > 1


def test_a_second_prompt_reuses_the_first() -> None:
    model = FakeModel()
    generator = Generator(model)
    prompt = [BEGIN, *b"a" * 100, BEGIN, *b"assistant\n"]
    task = Task(prompt, 10, Sampling(temperature=0))
    first, second = (generator.generate(task, lambda: True) for _ in range(2))
    assert (first.reused_tokens, second.reused_tokens) == (0, 64)
    assert first.text == second.text
    assert END not in model.context
