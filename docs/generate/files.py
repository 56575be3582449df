"""The tables of the files that `podium rank` takes: by name of the format, and by example.

To add a form, add a row to `FILES`. Each holds two attempts or more at the same prompt.
"""

import json
from typing import Any, NamedTuple

from docs.generate.tables import table
from podium.formats import FORMATS, read_rows

_ASKED = "What is 6 times 7?"
_SAID = ("It is 42.", "I think it may be 41.")
_USER = {"role": "user", "content": _ASKED}
_ARGUMENTS = '{"a": 6, "b": 7}'


class File(NamedTuple):
    """A form of files: what it is, the format that it is taken for, and rows that stand for it."""

    what: str
    name: str
    rows: list[Any]


def _turns(said: str) -> list[dict[str, Any]]:
    return [_USER, {"role": "assistant", "content": said}]


def _anthropic(said: str) -> list[dict[str, Any]]:
    return [
        _USER,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I multiply."},
                {"type": "tool_use", "id": "t1", "name": "mul", "input": {"a": 6, "b": 7}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "42"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
    ]


def _items(said: str) -> list[dict[str, Any]]:
    return [
        _USER,
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "6 x 7"}]},
        {"type": "function_call", "call_id": "c1", "name": "mul", "arguments": _ARGUMENTS},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": said, "annotations": []}],
        },
    ]


def _langchain(said: str) -> list[dict[str, Any]]:
    return [
        {"type": "human", "data": {"content": _ASKED, "type": "human"}},
        {
            "type": "ai",
            "data": {"content": "", "tool_calls": [{"name": "mul", "args": {"a": 6}, "id": "c1"}]},
        },
        {"type": "tool", "data": {"content": "42", "tool_call_id": "c1"}},
        {"type": "ai", "data": {"content": said}},
    ]


def _serialised(said: str) -> list[dict[str, Any]]:
    def message(name: str, content: str) -> dict[str, Any]:
        path = ["langchain", "schema", "messages", name]
        return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": content}}

    return [message("HumanMessage", _ASKED), message("AIMessage", said)]


def _choices(*said: str) -> list[dict[str, Any]]:
    return [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate(said)
    ]


def _span(trace: str, said: str) -> dict[str, Any]:
    asked = [{"role": "user", "parts": [{"type": "text", "content": _ASKED}]}]
    output = [{"role": "assistant", "parts": [{"type": "text", "content": said}]}]
    return {
        "name": "chat m",
        "context": {"trace_id": trace, "span_id": "1"},
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps(asked),
            "gen_ai.output.messages": json.dumps(output),
        },
    }


def _otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    def span(each: dict[str, Any]) -> dict[str, Any]:
        pairs = [
            {"key": name, "value": {"stringValue": value}}
            for name, value in each["attributes"].items()
        ]
        return {"traceId": each["context"]["trace_id"], "spanId": "1", "attributes": pairs}

    return {"resourceSpans": [{"scopeSpans": [{"spans": [span(each) for each in spans]}]}]}


def _flat(trace: str, said: str) -> dict[str, Any]:
    attributes = {
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": _ASKED,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": said,
    }
    return {"traceId": trace, "attributes": attributes}


def _observation(trace: str, said: str) -> dict[str, Any]:
    output = {"role": "assistant", "content": said}
    return {"id": f"o-{trace}", "traceId": trace, "type": "GENERATION", "input": [_USER],
            "output": output}  # fmt: skip


def _batch_line(number: int, said: str) -> dict[str, Any]:
    body = {"object": "chat.completion", "choices": _choices(said)}
    return {"id": f"b{number}", "custom_id": f"sum-{number}", "error": None,
            "response": {"status_code": 200, "body": body}}  # fmt: skip


def _response(said: str) -> dict[str, Any]:
    return {"object": "response", "status": "completed", "output": _items(said)[1:]}


FILES: list[File] = [
    File("groups", "podium",
         [{"trajectories": [{"id": f"t{n}", "messages": _turns(x)} for n, x in enumerate(_SAID)]}]),
    File("groups without ids", "podium",
         [{"trajectories": [{"messages": _turns(x)} for x in _SAID]}]),
    File("labelled pairs", "podium",
         [{"task": _ASKED, "a": _SAID[0], "b": _SAID[1], "winner": "a"}]),
    File("chat logs, one conversation a row", "openai", [{"messages": _turns(x)} for x in _SAID]),
    File("lists of messages", "openai", [_turns(x) for x in _SAID]),
    File("a list of conversations in one row", "openai",
         [[{"messages": _turns(x)} for x in _SAID]]),
    File("messages and an answer beside them", "openai",
         [{"messages": [_USER], "response": x} for x in _SAID]),
    File("n choices, with the request", "choices",
         [{"request": {"messages": [_USER]}, "response": {"choices": _choices(*_SAID)}}]),
    File("n choices, with the messages", "choices",
         [{"messages": [_USER], "choices": _choices(*_SAID)}]),
    File("n choices alone", "choices",
         [{"object": "chat.completion", "model": "m", "choices": _choices(*_SAID)}]),
    File("n legacy completions", "choices",
         [{"prompt": _ASKED, "choices": [{"index": n, "text": x} for n, x in enumerate(_SAID)]}]),
    File("Gemini's candidates", "choices",
         [{"contents": [{"role": "user", "parts": [{"text": _ASKED}]}],
           "candidates": [{"content": {"role": "model", "parts": [{"text": x}]},
                           "finishReason": "STOP"} for x in _SAID]}]),
    File("Anthropic's answers, with the request", "choices",
         [{"request": {"messages": [_USER]},
           "response": {"type": "message", "role": "assistant", "stop_reason": "end_turn",
                        "content": [{"type": "text", "text": x}]}} for x in _SAID]),
    File("output of the Responses API", "choices",
         [{"input": _ASKED, **_response(x)} for x in _SAID]),
    File("lines of a batch's output", "batch",
         [_batch_line(n, x) for n, x in enumerate(_SAID)]),
    File("ART's trajectories", "art",
         [{"messages_and_choices": [_USER, _choices(x)[0]], "reward": 0.5, "metrics": {}}
          for x in _SAID]),
    File("ART's groups", "art",
         [{"trajectories": [{"messages_and_choices": [_USER, _choices(x)[0]], "reward": 0.5}
                            for x in _SAID], "exceptions": []}]),
    File("TRL's completions, conversational", "trl",
         [{"prompt": [_USER], "completion": _turns(x)[1:], "step": 3} for x in _SAID]),
    File("TRL's completions, plain", "trl",
         [{"step": 3, "prompt": _ASKED, "completion": x, "advantage": 0.0} for x in _SAID]),
    File("columns of prompts and completions", "lists",
         [{"prompts": [_ASKED, _ASKED], "completions": list(_SAID)}]),
    File("KTO", "kto",
         [{"prompt": _ASKED, "completion": x, "label": n == 0} for n, x in enumerate(_SAID)]),
    File("preference pairs, the prompt in them", "preference",
         [{"chosen": _turns(_SAID[0]), "rejected": _turns(_SAID[1])}]),
    File("preference pairs, the prompt beside them", "preference",
         [{"prompt": _ASKED, "chosen": _SAID[0], "rejected": _SAID[1]}]),
    File("preference pairs for OpenAI's fine-tuning", "preference",
         [{"input": {"messages": [_USER]}, "preferred_output": _turns(_SAID[0])[1:],
           "non_preferred_output": _turns(_SAID[1])[1:]}]),
    File("Anthropic's hh-rlhf", "preference",
         [{name: f"\n\nHuman: {_ASKED}\n\nAssistant: {x}"
           for name, x in zip(("chosen", "rejected"), _SAID, strict=True)}]),
    File("answers side by side", "sides",
         [{"prompt": _ASKED, "response_a": _SAID[0], "response_b": _SAID[1]}]),
    File("items of the OpenAI Agents SDK", "agents", [{"items": _items(x)} for x in _SAID]),
    File("Anthropic's messages, with tools", "anthropic",
         [{"system": "Be brief.", "messages": _anthropic(x)} for x in _SAID]),
    File("Pydantic AI's messages", "pydantic_ai",
         [[{"kind": "request", "parts": [{"part_kind": "user-prompt", "content": _ASKED}]},
           {"kind": "response", "parts": [{"part_kind": "text", "content": x}]}] for x in _SAID]),
    File("trajectories in ATIF (Harbor)", "sources",
         [{"schema_version": "ATIF-v1.4", "session_id": str(n), "steps": [
             {"step_id": 1, "source": "user", "message": _ASKED},
             {"step_id": 2, "source": "agent", "message": x}]} for n, x in enumerate(_SAID)]),
    File("ShareGPT", "sharegpt",
         [{"conversations": [{"from": "human", "value": _ASKED}, {"from": "gpt", "value": x}]}
          for x in _SAID]),
    File("LangChain's messages", "langchain", [{"messages": _langchain(x)} for x in _SAID]),
    File("LangChain's messages, serialised", "langchain",
         [{"messages": _serialised(x)} for x in _SAID]),
    File("Gemini's contents", "gemini",
         [{"contents": [{"role": "user", "parts": [{"text": _ASKED}]},
                        {"role": "model", "parts": [{"text": x}]}]} for x in _SAID]),
    File("verl's rollouts", "verl",
         [{"input": _ASKED, "output": x, "gts": "42", "score": 0.0, "step": 1} for x in _SAID]),
    File("verl's generations (Parquet)", "verl",
         [{"data_source": "sums", "prompt": [_USER], "reward_model": {"ground_truth": "42"},
           "responses": list(_SAID)}]),
    File("logged samples of lm-evaluation-harness", "lm-eval",
         [{"doc_id": 0, "arguments": {"gen_args_0": {"arg_0": _ASKED, "arg_1": {}}},
           "resps": [[x]], "target": "42"} for x in _SAID]),
    File("a prompt and a list of texts", "lists", [{"prompt": _ASKED, "completions": list(_SAID)}]),
    File("a prompt and a list of objects", "lists",
         [{"instruction": _ASKED,
           "completions": [{"model": f"m{n}", "response": x} for n, x in enumerate(_SAID)]}]),
    File("a prompt and the answers of models by name", "lists",
         [{"question": _ASKED, "outputs": {"small": _SAID[0], "large": _SAID[1]}}]),
    File("vLLM's outputs", "lists",
         [{"prompt": _ASKED,
           "outputs": [{"index": n, "text": x, "finish_reason": "stop"}
                       for n, x in enumerate(_SAID)]}]),
    File("Alpaca", "alpaca",
         [{"instruction": "Multiply.", "input": "6 and 7", "output": x} for x in _SAID]),
    File("a question and an answer", "completions",
         [{"question": _ASKED, "response": x} for x in _SAID]),
    File("GenAI spans of OpenTelemetry", "otel",
         [_span(f"t{n}", x) for n, x in enumerate(_SAID)]),
    File("GenAI spans in OTLP's JSON", "otel",
         [_otlp(*(_span(f"t{n}", x) for n, x in enumerate(_SAID)))]),
    File("spans of OpenLLMetry", "otel", [_flat(f"t{n}", x) for n, x in enumerate(_SAID)]),
    File("observations of Langfuse", "langfuse",
         [_observation(f"t{n}", x) for n, x in enumerate(_SAID)]),
    File("traces of Langfuse", "langfuse",
         [{"id": f"t{n}", "input": _ASKED, "output": x,
           "observations": [_observation(f"t{n}", x)]} for n, x in enumerate(_SAID)]),
    File("runs of LangSmith", "langsmith",
         [{"id": f"r{n}", "run_type": "chain", "inputs": {"messages": _serialised("")[:1]},
           "outputs": {"messages": _serialised(x)}} for n, x in enumerate(_SAID)]),
]  # fmt: skip


def file_formats() -> str:
    """Return the table of the names that `--from` takes."""
    rows = [(f"`{each.name}`", each.about) for each in FORMATS.values()]
    return table(("`--from`", "rows"), rows)


def file_shapes() -> str:
    """Return the table: what a file holds, a row of it, and what it is taken for and why."""
    rows = []
    for file in FILES:
        reading = read_rows(file.rows)
        example = json.dumps(file.rows[0], ensure_ascii=False)
        name = " and ".join(reading.formats)
        rows.append((file.what, f"`{example}`", f"`{name}`: {reading.why}"))
    return table(("rows", "for example, one row", "taken for, because"), rows)
