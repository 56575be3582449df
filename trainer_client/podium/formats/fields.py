"""The names under which rows hold their parts, and how a part is looked up.

To add a name: put it into the tuple of its part; the first name of a tuple that a row has is taken.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import from_json

CHATS = (
    "messages_and_choices", "messages", "conversations", "conversation", "chat", "dialog",
    "dialogue", "turns", "transcript", "traj", "trajectory", "history", "input_items", "items",
    "new_items", "contents", "steps", "chat_history", "chat_completions",
)  # fmt: skip
PROMPTS = (
    "prompt", "instruction", "question", "query", "problem", "input", "inputs", "user_prompt",
    "prompt_text", "user", "context", "raw_prompt", "full_prompt", "user_input", "input_prompt",
    "input_text", "raw", "question_content", "$ai_input",
)  # fmt: skip
# What may be the truth beside a model's words (`output`, `answer`, `solution`) stands at the end.
COMPLETIONS = (
    "completion", "response", "generation", "generated_text", "model_output", "model_response",
    "model_answer", "model_prediction", "llm_response", "llm_output", "generated_solution",
    "prediction", "predict", "solution_str", "response_str", "response_text", "completion_text",
    "sequences_str", "actual_output", "output_response", "sampled", "model_outputs",
    "$ai_output_choices", "output", "final_output", "output_text", "answer", "text", "content",
    "result", "reply", "solution", "model_patch",
)  # fmt: skip
LISTS = (
    "completions", "responses", "outputs", "candidates", "generations", "samples", "answers",
    "attempts", "rollouts", "trajectories", "solutions", "predictions", "replies", "options",
    "generated_texts", "response_list", "summaries", "results", "output_list",
)  # fmt: skip
HISTORIES = ("history", "chat_history", "conversation_history")  # the turns before the prompt
REQUESTS = ("request", "modelInput", "responses_create_params", "request_body", "inputBodyJson")
SYSTEMS = ("system", "system_prompt", "system_instruction", "systemInstruction", "instructions")
GROUPS = (
    "group_id", "group", "group_index", "prompt_id", "prompt_index", "uid", "task_id", "problem_id",
    "question_id", "example_id", "instance_id", "task_index", "doc_id",
)  # fmt: skip
IDS = (
    "id", "trajectory_id", "attempt_id", "rollout_id", "sample_id", "completion_id", "response_id",
    "custom_id", "traceId", "trace_id", "generator", "model",
)  # fmt: skip
REFERENCES = (
    "reference", "ground_truth", "reward_model.ground_truth", "gts", "gold", "reference_answer",
    "expected_output", "expectedOutput", "expected", "target", "answer", "solution",
)  # fmt: skip
STEPS = ("step", "global_step")
_STOPS = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "max_output_tokens": "length", "eos": "stop", "eos_token": "stop", "completed": "stop",
}  # fmt: skip


def first_of(row: Any, names: Iterable[str]) -> str | None:
    """Return the first of the names under which a row holds something; None without any."""
    if not isinstance(row, dict):
        return None
    return next((name for name in names if row.get(name) is not None), None)


def look_up(row: Any, path: str) -> Any:
    """Return the field of a row at a dotted path; names that hold dots are tried first."""
    if not isinstance(row, dict):
        return None
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    return look_up(row.get(head), rest) if rest else None


def scalar_text(value: Any) -> str | None:
    """Return a text or a number as text; None for anything else, and for what is empty."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value) or None


def decoded(value: Any) -> Any:
    """Return the value that a text holds as JSON, if it is an object or a list of objects."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner = from_json(value)
        except ValueError:
            return value
        items = inner if isinstance(inner, list) else [inner]
        return inner if items and all(isinstance(each, dict) for each in items) else value
    return value


def stop_word(value: Any) -> str | None:
    """Return a finish reason in OpenAI's words, short enough for the wire."""
    if not isinstance(value, str) or not value:
        return None
    return _STOPS.get(value.lower(), value.lower())[:64]


def names_of(row: dict[str, Any], most: int = 8) -> str:
    """Return the names of a row's fields for an error, shortened."""
    names = [repr(str(name)[:40]) for name in row]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "no fields") + more


def dicts(value: Any) -> Sequence[dict[str, Any]]:
    """Return the objects in a list; none if it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
