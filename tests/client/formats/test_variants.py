"""Rows as tools and data sets write them, beside the listed forms: each is a group of two."""

import json
from typing import Any

import pytest

from podium.formats import read_rows

Q = "6 x 7?"
USER = {"role": "user", "content": Q}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def chat(text: str) -> list[dict[str, Any]]:
    return [USER, said(text)]


def output(text: str) -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": text}
    return [{"type": "message", "role": "assistant", "content": [part]}]


def lc(name: str, text: str) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["x", name], "kwargs": {"content": text}}


def choice(text: str) -> dict[str, Any]:
    return {"choices": [{"message": said(text)}]}


def flat_span(text: str) -> dict[str, Any]:
    asked, answered = "llm.input_messages.0.message", "llm.output_messages.0.message"
    call = f"{answered}.tool_calls.0.tool_call.function"
    return {
        "context": {"trace_id": text},
        "attributes": {
            f"{asked}.role": "user", f"{asked}.content": Q, f"{answered}.role": "assistant",
            f"{answered}.content": text, f"{call}.name": "f", f"{call}.arguments": "{}",
        },
    }  # fmt: skip


def event_span(text: str) -> dict[str, Any]:
    events = [
        {"name": "gen_ai.user.message", "attributes": {"content": Q}},
        {"name": "gen_ai.choice", "attributes": {"message": json.dumps(said(text))}},
    ]
    attributes = {"gen_ai.system": "openai"}
    return {"context": {"trace_id": text}, "attributes": attributes, "events": events}


def both(row: Any) -> list[Any]:
    return [row("a"), row("b")]


ONE_ROW_EACH: dict[str, Any] = {
    "Ollama": lambda x: {
        "request": {"messages": [USER]},
        "response": {"message": said(x), "done": True},
    },
    "AutoGen 0.4": lambda x: {
        "messages": [
            {"source": "user", "content": Q, "type": "TextMessage"},
            {"source": "agent", "content": x, "type": "TextMessage"},
        ]
    },
    "LangGraph's state": lambda x: {
        "values": {"messages": [{"type": "human", "content": Q}, {"type": "ai", "content": x}]}
    },
    "PostHog": lambda x: {
        "event": "$ai_generation",
        "properties": {"$ai_input": [USER], "$ai_output_choices": [said(x)]},
    },
    "OpenAI's evals": lambda x: {"type": "sampling", "data": {"prompt": [USER], "sampled": [x]}},
    "Open WebUI": lambda x: {"title": "t", "chat": {"messages": chat(x)}},
    "Bedrock, batch": lambda x: {
        "recordId": x,
        "modelInput": {"messages": [USER]},
        "modelOutput": {"type": "message", "role": "assistant", "content": x},
    },
    "DSPy": lambda x: {"messages": [USER], "outputs": [x], "model": "m"},
    "MMLU-Pro": lambda x: {"question": Q, "options": ["41", "42"], "model_outputs": x},
    "Vercel's spans": lambda x: {
        "traceId": x,
        "attributes": {"ai.prompt": json.dumps({"messages": [USER]}), "ai.response.text": x},
    },
    "Logfire": lambda x: {
        "trace_id": x,
        "attributes": {
            "pydantic_ai.all_messages": json.dumps(
                [
                    {"role": "user", "parts": [{"type": "text", "content": Q}]},
                    {"role": "assistant", "parts": [{"type": "text", "content": x}]},
                ]
            )
        },
    },
    "Logfire's events": lambda x: {
        "trace_id": x,
        "attributes": {
            "gen_ai.system": "openai",
            "events": json.dumps(
                [
                    {"event.name": "gen_ai.user.message", "content": Q, "role": "user"},
                    {"event.name": "gen_ai.choice", "message": said(x)},
                ]
            ),
        },
    },
    "verifiers": lambda x: {"example_id": 3, "prompt": [USER], "completion": [said(x)]},
    "slime": lambda x: {"group_index": 0, "index": x, "prompt": Q, "response": x, "label": "42"},
    "OpenRLHF": lambda x: {"query": Q, "response": x},
    "tau-bench": lambda x: {"task_id": 0, "trial": x, "reward": 1, "traj": chat(x)},
    "NeMo-Gym": lambda x: {
        "responses_create_params": {"input": [USER]},
        "response": {"object": "response", "output": output(x)},
    },
    "HumanEval": lambda x: {"task_id": "H/0", "prompt": Q, "completion": x},
    "EvalPlus": lambda x: {"task_id": "H/0", "prompt": Q, "solution": x},
    "Ollama, chat": lambda x: {"messages": [USER], "response": {"message": said(x), "done": True}},
    "Ollama, generate": lambda x: {"prompt": Q, "response": x, "done": True, "context": [1, 2]},
    "LiteLLM's log": lambda x: {"id": "x", "messages": [USER], "response": choice(x)},
    "response as text": lambda x: {"messages": [USER], "response": json.dumps(choice(x))},
    "Bedrock": lambda x: {
        "request": {"messages": [{"role": "user", "content": [{"text": Q}]}]},
        "response": {"output": {"message": {"role": "assistant", "content": [{"text": x}]}}},
    },
    "messages in input": lambda x: {"input": {"messages": [USER]}, "output": said(x)},
    "Agents, new items": lambda x: {"input": Q, "new_items": [{"raw_item": output(x)[0]}]},
    "Agents, final output": lambda x: {"input": Q, "final_output": x},
    "Agents, a list": lambda x: [USER, *output(x)],
    "Responses, no object": lambda x: {"id": x, "output": output(x), "input": Q},
    "LangChain, model_dump": lambda x: {
        "messages": [{"type": "human", "content": Q}, {"type": "ai", "content": x}]
    },
    "LangChain, a list": lambda x: [lc("HumanMessage", Q), lc("AIMessageChunk", x)],
    "LangChain, pairs": lambda x: {"messages": [["human", Q], ["ai", x]]},
    "LangSmith, model": lambda x: {
        "run_type": "llm",
        "inputs": {"messages": [[lc("HumanMessage", Q)]]},
        "outputs": {"generations": [[{"text": x, "message": lc("AIMessage", x)}]]},
    },
    "Vercel": lambda x: {
        "messages": [
            {"role": "user", "parts": [{"type": "text", "text": Q}]},
            {"role": "assistant", "parts": [{"type": "text", "text": x}]},
        ]
    },
    "ART's Parquet": lambda x: {
        "group_index": 0,
        "messages": [USER, said(x) | {"tool_calls": '[{"id": "c", "function": {"name": "f"}}]'}],
    },
    "OpenInference": flat_span,
    "Phoenix": lambda x: {
        "context": {"trace_id": x},
        "attributes": {
            "llm": {
                "input_messages": [{"message": USER}],
                "output_messages": [{"message": said(x)}],
            }
        },
    },
    "GenAI events": event_span,
    "ShareGPT with tools": lambda x: {
        "conversations": [
            {"from": "human", "value": Q},
            {"from": "function_call", "value": '{"name": "mul", "arguments": {"a": 6}}'},
            {"from": "observation", "value": "42"},
            {"from": "gpt", "value": x},
        ]
    },
    "DeepEval": lambda x: {"input": Q, "actual_output": x, "expected_output": "42"},
    "Ragas": lambda x: {"user_input": Q, "response": x, "reference": "42"},
    "SkyRL": lambda x: {"input_prompt": Q, "output_response": x, "score": 1.0},
    "AutoGen": lambda x: {"chat_history": chat(x), "summary": x},
    "LlamaIndex": lambda x: {
        "messages": [
            {"role": "user", "blocks": [{"block_type": "text", "text": Q}]},
            {"role": "assistant", "blocks": [{"block_type": "text", "text": x}]},
        ]
    },
    "lm-evaluation-harness": lambda x: {
        "doc_id": 0,
        "arguments": {"gen_args_0": {"arg_0": Q, "arg_1": {}}},
        "resps": [[x]],
        "filtered_resps": [x],
    },
    "TRL with tools": lambda x: {
        "prompt": [USER],
        "completion": [
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "name": "f", "content": "42"},
            said(x),
        ],
    },
}
ONE_ROW: dict[str, Any] = {
    "ms-swift": {"messages": chat("a"), "rejected_response": "b"},
    "ms-swift's messages": {"messages": chat("a"), "rejected_messages": chat("b")},
    "ms-swift's query": {"query": Q, "response": "a", "rejected_response": "b"},
    "arena": {"conversation_a": chat("a"), "conversation_b": chat("b"), "winner": "model_a"},
    "HELM": {
        "request": {"prompt": Q},
        "result": {"completions": [{"text": "a"}, {"text": "b"}]},
    },
    "LiveCodeBench": {"question_content": Q, "output_list": ["a", "b"], "code_list": ["c", "d"]},
    "promptfoo": {
        "results": {
            "version": 3,
            "results": both(lambda x: {"prompt": {"raw": Q}, "response": {"output": x}}),
        }
    },
    "Argilla": {"fields": {"prompt": Q, "response-1": "a", "response-2": "b"}},
    "Label Studio": {"data": {"prompt": Q, "answer1": "a", "answer2": "b"}, "annotations": []},
    "models side by side": {"prompt": Q, "model_a_response": "a", "model_b_response": "b"},
    "turns of two answers": {
        "prompt": Q,
        "choices": [{"turns": [{"content": "a"}]}, {"turns": [{"content": "b"}]}],
    },
    "Nectar": {
        "prompt": f"\n\nHuman: {Q}\n\nAssistant: ",
        "answers": [{"answer": "a", "model": "m"}, {"answer": "b", "model": "n"}],
    },
    "StackExchange": {"question": Q, "response_j": "a", "response_k": "b"},
    "DeepMath": {"question": Q, "r1_solution_1": "a", "r1_solution_2": "b"},
    "SHP": {"history": Q, "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
    "OpenR1": {"problem": Q, "solution": "6 x 7", "answer": "42", "generations": ["a", "b"]},
    "UltraFeedback": {"prompt": Q, "chosen": chat("a"), "rejected": chat("b"), "score_chosen": 1},
    "LLaMA-Factory": {
        "conversations": [{"from": "human", "value": Q}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    "Orca": {"system": "", "question": Q, "chosen": "a", "rejected": "b"},
    "chosen as a message": {"prompt": Q, "chosen": said("a"), "rejected": said("b")},
    "rollouts of a group": {"group_id": "g", "rollouts": both(lambda x: {"messages": chat(x)})},
    "attempts at a task": {"task": Q, "attempts": ["a", "b"]},
    "trajectories as lists": {"trajectories": both(chat)},
    "messages and completions": {"messages": [USER], "completions": ["a", "b"]},
    "completions as lists": {"prompt": [USER], "completions": [[said("a")], [said("b")]]},
    "answers of an API": {"prompt": Q, "responses": both(choice)},
    "a table": {"columns": ["step", "prompt", "completion"], "data": [[1, Q, "a"], [1, Q, "b"]]},
    "columns": {"prompt": [Q, Q], "completion": ["a", "b"]},
    "columns of pandas": {"prompt": {"0": Q, "1": Q}, "completion": {"0": "a", "1": "b"}},
    "rows of a server": {
        "features": [],
        "rows": both(lambda x: {"row_idx": 0, "row": {"prompt": Q, "completion": x}}),
    },
    "tau2-bench": {"simulations": both(lambda x: {"id": x, "task_id": "0", "messages": chat(x)})},
    "lm-evaluation-harness, repeats": {"arguments": [[Q, {}]], "resps": [["a", "b"]]},
    "RewardBench 2": {"prompt": Q, "correct": ["a"], "incorrect": ["b"], "num_correct": 1},
    "Inspect": {
        "eval": {},
        "samples": both(lambda x: {"id": 1, "input": Q, "messages": chat(x), "output": choice(x)}),
    },
}


@pytest.mark.parametrize("name", ONE_ROW_EACH)
def test_two_rows_at_one_prompt_are_a_group_of_two(name: str) -> None:
    _require_pair(both(ONE_ROW_EACH[name]))


@pytest.mark.parametrize("name", ONE_ROW)
def test_a_row_with_two_attempts_is_a_group_of_two(name: str) -> None:
    _require_pair([ONE_ROW[name]])


def _require_pair(rows: list[Any]) -> None:
    reading = read_rows(rows)
    assert reading.faults == []
    [group] = reading.groups
    for trajectory, text in zip(group["trajectories"], "ab", strict=True):
        first, last = trajectory["messages"][0], trajectory["messages"][-1]
        assert (first["role"], _text(first)) == ("user", Q)
        assert (last["role"], _text(last)) == ("assistant", text)
        assert sum(message["role"] == "user" for message in trajectory["messages"]) == 1


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_attempts_without_a_prompt_are_said_to_be_doubtful() -> None:
    assert "no prompt was found" in read_rows([{"response": "a"}, {"response": "b"}]).summary
    assert "no prompt" not in read_rows([{"prompt": Q, "completions": ["a", "b"]}]).summary


def test_a_session_of_codex_is_one_conversation() -> None:
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": Q}]},
             {"type": "reasoning", "summary": []}, *output("a")]  # fmt: skip
    lines = [{"type": "response_item", "payload": each} for each in items]
    about = {"type": "session_meta", "payload": {"id": "s"}}
    [group] = read_rows([about, *lines, {"type": "event_msg", "payload": {"type": "x"}}]).groups
    [trajectory] = group["trajectories"]
    assert [_text(message) for message in trajectory["messages"]] == [Q, "a"]
