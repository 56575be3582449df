"""Servers that speak Anthropic's and Gemini's APIs in their documented form, played by a script."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fakes import Answer, Asked, Step

Server = Callable[[Step], Step]


def anthropic(step: Step) -> Step:
    """Answer a call of Messages with what the step says to the same chat completion."""

    def play(asked: Asked) -> Answer:
        body = asked.body
        messages = [
            {"role": "system", "content": "".join(block["text"] for block in body["system"])},
            *({"role": each["role"], "content": _text(each["content"])} for each in
              body["messages"]),
        ]  # fmt: skip
        answer = step(replace(asked, body={**body, "messages": messages}))
        if answer.status != 200 or not isinstance(answer.body, dict):
            return answer
        [choice] = answer.body["choices"]
        reason = {"stop": "end_turn", "length": "max_tokens"}[choice["finish_reason"]]
        content = [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "text", "text": choice["message"]["content"]},
        ]
        usage = {"input_tokens": 60, "cache_creation_input_tokens": 0,
                 "cache_read_input_tokens": 40, "output_tokens": 10}  # fmt: skip
        return Answer(
            {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-m",
             "content": content, "stop_reason": reason, "usage": usage}
        )  # fmt: skip

    return play


def gemini(step: Step) -> Step:
    """Answer a call of generateContent with what the step says to the same chat completion."""

    def play(asked: Asked) -> Answer:
        body = asked.body
        messages = [
            {"role": "system", "content": _text(body["systemInstruction"]["parts"])},
            *({"role": each["role"].replace("model", "assistant"), "content":
               _text(each["parts"])} for each in body["contents"]),
        ]  # fmt: skip
        answer = step(replace(asked, body={**body, "messages": messages}))
        if answer.status != 200 or not isinstance(answer.body, dict):
            return answer
        [choice] = answer.body["choices"]
        reason = {"stop": "STOP", "length": "MAX_TOKENS"}[choice["finish_reason"]]
        parts = [{"text": "hm", "thought": True}, {"text": choice["message"]["content"]}]
        usage = {"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 7,
                 "thoughtsTokenCount": 3, "totalTokenCount": 110}  # fmt: skip
        return Answer(
            {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason,
                             "index": 0}], "usageMetadata": usage, "modelVersion": "gemini-m"}
        )  # fmt: skip

    return play


def _text(parts: list[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in parts)
