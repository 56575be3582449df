"""Attempts that think: all tokens are trained on, and judges are given the answer."""

from dataclasses import replace

import pytest

from podium_trainer.tasks.scorers import score_number
from tests.trainer.rollout.conftest import RunRollout
from tests.trainer.rollout.scripted_sampler import (
    ScriptedSampler,
    make_prompt,
    trained_ids,
    write_call,
)
from tests.trainer.templates import DEEPSEEK, OPENS_THOUGHT, QWEN3, TOKENIZERS, chat_of

THOUGHT = "<think>\nhm\n</think>\n\n"


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_thoughts_are_trained_on_and_kept_apart(run_rollout: RunRollout, tokenizer: str) -> None:
    chat = chat_of(QWEN3, tokenizer)
    end = chat.tokenizer.eos_token_id
    script = [[*chat.encode(THOUGHT + "4"), end], chat.encode("<think>\nis it 5")]
    [[whole, cut]] = run_rollout(ScriptedSampler(script, chat=chat), group_size=2, with_tools=False)
    assert whole.messages[1] == {"role": "assistant", "content": "4", "reasoning_content": "hm"}
    assert trained_ids(whole.samples[0]) == script[0]
    assert cut.messages[1] == {"role": "assistant", "content": "", "reasoning_content": "is it 5"}
    assert trained_ids(cut.samples[0]) == script[1]
    assert (whole.finish_reason, cut.finish_reason) == ("stop", "length")


def test_a_thought_without_an_answer_scores_nothing(run_rollout: RunRollout) -> None:
    chat = chat_of(DEEPSEEK)
    sampler = ScriptedSampler(["it is 4", "it is 4</think>4"], chat=chat)
    [group] = run_rollout(sampler, group_size=2, with_tools=False)
    prompt = replace(make_prompt("hi"), reference="4")
    assert [score_number(prompt, attempt.messages) for attempt in group] == [0.0, 1.0]


@pytest.mark.parametrize("template", [QWEN3, OPENS_THOUGHT], ids=["qwen3", "opens thought"])
def test_a_template_that_keeps_thoughts_continues_the_sample(
    run_rollout: RunRollout, template: str
) -> None:
    chat = chat_of(template)
    thought = THOUGHT if template == QWEN3 else "hm\n</think>\n\n"
    turns = [thought + write_call("add", a=1, b=2), thought + "3"]
    [[attempt]] = run_rollout(ScriptedSampler(turns, chat=chat))
    [sample] = attempt.samples
    assert chat.decode(trained_ids(sample)).replace("<|im_end|>", "") == "".join(turns)
    assert [m.get("reasoning_content") for m in attempt.messages] == [None, "hm", None, "hm"]
    assert attempt.messages[1]["content"] is None
    assert attempt.messages[-1]["content"] == "3"


def test_a_template_that_drops_thoughts_starts_a_new_sample(run_rollout: RunRollout) -> None:
    chat = chat_of(DEEPSEEK)
    call = write_call("add", a=1, b=2)
    [[attempt]] = run_rollout(ScriptedSampler([f"hm</think>{call}", "so</think>3"], chat=chat))
    first, second = attempt.samples
    assert chat.decode(trained_ids(first)) == f"hm</think>{call}<|im_end|>"
    assert chat.decode(trained_ids(second)) == "so</think>3<|im_end|>"
    assert "hm" not in chat.decode(second.token_ids)
    assert call in chat.decode(second.token_ids)


def test_a_call_within_a_thought_is_not_run(run_rollout: RunRollout) -> None:
    chat = chat_of(QWEN3)
    text = f"<think>maybe {write_call('die')}</think>no"
    [[attempt]] = run_rollout(ScriptedSampler([text], chat=chat))
    assert (attempt.num_turns, attempt.messages[-1]["content"]) == (1, "no")
