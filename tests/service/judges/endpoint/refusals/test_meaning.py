"""Words of endpoints are understood: those that were seen of each kind, and none as another."""

import json
from typing import Any

import pytest

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRefused,
    JudgeRejected,
    JudgeUnavailable,
    VerdictInvalid,
)
from podium_service.judges.endpoint.errors import ContextOverflow, ParameterRejected, map_answer
from podium_service.judges.endpoint.refusals import meaning
from podium_service.judges.endpoint.refusals.words import Words, read_words


def mapped(status: int, body: Any) -> Exception:
    content = body if isinstance(body, str) else json.dumps(body)
    return map_answer(status, {}, content.encode(), "http://judge/v1", str)


def openai_error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


OVERFLOWS: list[tuple[str, int | None, int | None]] = [
    ("This model's maximum context length is 8192 tokens. However, your messages resulted in 14000 "
     "tokens. Please reduce the length of the messages.", 8192, 14000),
    ("This model's maximum context length is 4096 tokens. However, you requested 5840 tokens (1200 "
     "in the messages, 4640 in the completion). Please reduce the length of the messages or "
     "completion.", 4096, 5840),
    ("'max_tokens' or 'max_completion_tokens' is too large: 4640. This model's maximum context "
     "length is 4096 tokens and your request has 1200 input tokens (4640 > 4096 - 1200).", 4096,
     4640),
    ("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300100 "
     "tokens. Please reduce the length of the messages.", 272000, 300100),
    ("Your input exceeds the context window of this model. Please adjust your input and try "
     "again.", None, None),
    ("the request exceeds the available context size. try increasing the context size or enable "
     "context shift", None, None),
    ("request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it",
     8192, 14429),
    ("prompt is too long: 208310 tokens > 200000 maximum", 200000, 208310),
    ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input "
     "length or `max_tokens` and try again", 200000, None),
    ("Input is too long for requested model.", None, None),
    ("The input token count (1248310) exceeds the maximum number of tokens allowed (1048576).",
     1048576, 1248310),
    ("The input token count exceeds the maximum number of tokens allowed 1048576.", 1048576, None),
    ("Unable to submit request because the input token count is 40000 but model only supports up "
     "to 32768. Reduce the input token count and try again.", 32768, 40000),
    ("Input validation error: `inputs` must have less than 4095 tokens. Given: 9000", 4095, 9000),
    ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3000 "
     "`inputs` tokens and 2000 `max_new_tokens`", 4096, None),
    ("the input length exceeds the context length", None, None),
    ("prompt too long; exceeded max context length by 1200 tokens", None, None),
    ("exceeds maximum context length", None, None),
    ("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
     "context length", 32768, 40000),
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. "
     "Try using a shorter prompt", 4081, 5000),
    ("Too many input tokens. Max input tokens: 8192, request input token count: 9000", 8192, 9000),
    ("The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure "
     "that `max_model_len` is no smaller than the number of text tokens.", 8192, 9000),
    ("The prompt (total length 9000) is too long to fit into the model (context length 8192).",
     8192, 9000),
    ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", 8192,
     9000),
    ("Requested token count exceeds the model's maximum context length of 8192 tokens. You "
     "requested a total of 9640 tokens: 5000 tokens from the input messages and 4640 tokens for "
     "the completion.", 8192, 9640),
    ("Trying to keep the first 9000 tokens when context the overflows. However, the model is "
     "loaded with context length of only 4096 tokens, which is not enough. Try to load the model "
     "with a larger context length, or provide a shorter input", 4096, 9000),
    ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
     131072, 537812),
    ("This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 "
     "tokens (4360 of text input, 4640 in the output).", 8192, 9000),
    ("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
     30720, None),
    ("Invalid request: Your request exceeded model token limit: 8192", 8192, None),
    ("prompt token count of 150000 exceeds the limit of 128000", 128000, 150000),
    ("Prompt length (9000) exceeds maximum input length (8192). Set truncate_prompt_tokens.", 8192,
     9000),
    ("The estimated number of input and maximum output tokens (9000) exceeded this model context "
     "window limit (7968).", 7968, 9000),
    ("Please reduce the length of the messages or completion. Current length is 9000 while limit "
     "is 8192", 8192, 9000),
    ("Request body too large for gpt-4o model. Max size: 8000 tokens.", 8000, None),
    ("litellm.ContextWindowExceededError: litellm.BadRequestError: this model's maximum context "
     "length is 16,385 tokens. However, your messages resulted in 30,001 tokens.", 16385, 30001),
    ("The prompt is too long: 9000, model maximum context length: 8191", 8191, 9000),
    ("Input is longer than the model's maximum input length", None, None),
    ("The number of tokens to keep from the initial prompt is greater than the context length",
     None, None),
    ("Requested 9000 tokens exceeds maximum of 8192 context", 8192, 9000),
    ("Prompt length 9000 is greater than max_seq_len 4096", 4096, 9000),
    ("default_max_tokens (-300) should be greater than 0, default_max_tokens (-300) = max_seq_len "
     "(2048) - splited_prompt_len (2348) - query_token_len (0)", 2048, 2348),
    ("internal error happened, status code ResponseType.INPUT_LENGTH_ERROR", None, None),
    ("Max content length exceeded", None, None),
    ("Total tokens of image and text exceed max message tokens.", None, None),
    ("context shift is disabled", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "limit", "counted"), OVERFLOWS)
def test_an_overflow_is_known_and_its_numbers_are_read(
    text: str, limit: int | None, counted: int | None
) -> None:
    error = mapped(400, openai_error(text))
    assert isinstance(error, ContextOverflow), error
    assert (error.limit_tokens, error.counted_tokens) == (limit, counted)


@pytest.mark.parametrize(
    ("status", "body", "limit"),
    [
        (400, openai_error("too much", "context_length_exceeded"), None),
        (400, {"error": {"code": 400, "message": "the request exceeds the available context size",
                         "type": "exceed_context_size_error", "n_prompt_tokens": 14429,
                         "n_ctx": 8192}}, 8192),
        (413, "<html><head><title>413 Request Entity Too Large</title></head></html>", None),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "no"}}, None),
        (422, {"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: "
                        "9000", "error_type": "validation"}, 4095),
        (500, {"error": "input length exceeds maximum context length"}, None),
        (429, openai_error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, "
                           "Requested 41000. The input or output tokens must be reduced in order "
                           "to run successfully.", "rate_limit_exceeded"), 30000),
        (413, openai_error("Request too large for model `llama` on tokens per minute (TPM): Limit "
                           "6000, Requested 14001, please reduce your message size and try again.",
                           "rate_limit_exceeded"), 6000),
    ],
)  # fmt: skip
def test_an_overflow_is_known_whatever_its_status(
    status: int, body: Any, limit: int | None
) -> None:
    error = mapped(status, body)
    assert isinstance(error, ContextOverflow), error
    assert error.limit_tokens == limit


CAPS = [
    ("max_tokens is too large: 4640. This model supports at most 4096 completion tokens, whereas "
     "you provided 4640.", 4096),
    ("max_tokens: 4640 > 4096, which is the maximum allowed number of output tokens for "
     "claude-3-haiku-20240307", 4096),
    ("`max_completion_tokens` must be less than or equal to `4000`, the maximum value for "
     "`max_completion_tokens` is less than the `context_window` for this model", 4000),
    ("Invalid max_tokens value, the valid range of max_tokens is [1, 4096]", 4096),
    ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 2000]", 2000),
    ("The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum "
     "tokens value that is lower than 4096.", 4095),
    ("Unable to submit request because it has a maxOutputTokens value of 4640 but the supported "
     "range is from 1 (inclusive) to 4097 (exclusive). Update the value and try again.", 4096),
    ("too many tokens: max tokens must be less than or equal to 4000, the maximum output for this "
     "model - received 4640.", 4000),
    ("body.max_tokens: ensure this value is less than or equal to 4096", 4096),
    ("Input validation error: `max_new_tokens` must be <= 512. Given: 4640", 512),
    ("Requests with max_tokens > 4096 must have stream=true", 4096),
    ("max_completion_tokens is too high", 2320),
    ("Invalid max_tokens \u8303\u56f4 [1, 4095]", 4095),
    ("max_tokens must be at most 2,048", 2048),
    ("Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 4096, but got "
     "4640 instead.", 4096),
]  # fmt: skip


@pytest.mark.parametrize(("text", "allowed"), CAPS)
def test_a_cap_that_is_too_large_is_known_and_lowered(text: str, allowed: int) -> None:
    error = mapped(400, openai_error(text))
    assert isinstance(error, ParameterRejected), error
    assert meaning.means_high_cap(error.words)
    assert meaning.read_cap(error.words, 4640) == allowed


def test_a_cap_is_known_by_its_value_if_the_words_do_not_name_it() -> None:
    text = "Malformed input request: 4640 is not less or equal to 3072, please reformat your input"
    error = mapped(400, {"message": text})
    assert isinstance(error, ParameterRejected), error
    assert not meaning.means_high_cap(error.words)
    assert meaning.means_high_cap(error.words, 4640)
    assert meaning.read_cap(error.words, 4640) == 3072


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported parameter: 'max_completion_tokens' is not supported with this model.",
        "Extra inputs are not permitted: max_completion_tokens",
        "Unrecognized request argument supplied: max_completion_tokens",
        "unknown field max_completion_tokens",
        *[text for text, _, _ in OVERFLOWS],
    ],
)
def test_a_cap_that_is_unknown_is_not_taken_for_too_large(text: str) -> None:
    assert not meaning.means_high_cap(Words(text))


SYSTEM = [
    "System role not supported",
    "Jinja Exception: System role not supported",
    "Template error: unknown: System role not supported (in <string>:1)",
    "Developer instruction is not enabled for models/gemma-3-27b-it",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "After the optional system message, conversation roles must alternate user/assistant",
    "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
    "This model doesn't support system messages. Try again without system messages.",
    "Unexpected role 'system' in messages",
    "messages.0.role: Input should be 'user' or 'assistant'",
    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter',
    "Only user and assistant roles are supported!",
    "A conversation must start with a user message. Try again with a conversation that starts with "
    "a user message.",
    "invalid role: system",
    "The role 'system' is not allowed for this model",
    "System prompts are not supported by this model",
    "This model doesn't support the system field. Remove the system field and try again.",
    "the role of message with even index in the messages must be user or function",
]


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("text", SYSTEM)
def test_a_refused_system_message_is_known(text: str, status: int) -> None:
    error = mapped(status, {"object": "error", "message": text, "type": "e", "code": status})
    assert isinstance(error, ParameterRejected), error
    assert meaning.is_about_system(error.words)
    assert not meaning.means_high_cap(error.words)


FORMATS = [
    "The provided JSON schema contains features not supported by xgrammar.",
    "Failed to initialize samplers: failed to parse grammar",
    'Grammar error: Unimplemented keys: ["maxLength"]',
    "Invalid schema for response_format 'verdict': 'additionalProperties' is required to be "
    "supplied and to be false.",
    "'response_format.type' must be 'json_schema' or 'text'",
    "This response_format type is unavailable now",
    "JSON mode is not enabled for models/gemma-3-1b-it",
    "The specified schema produces a constraint that has too many states for serving.",
    "Invalid value at 'generation_config.response_schema': should be non-empty for OBJECT type",
    "Model does not support structured outputs",
    "output_config.format: structured outputs are not supported by this model",
    "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
    "'json_object'.",
    "guided decoding is not supported with this backend",
    "lm-format-enforcer does not support regex in schema",
    "invalid JSON schema in format",
    "Compiled grammar is too large",
    "Response format `json_schema` is not supported by model `gemma2-9b-it`",
    "No endpoints found that support the requested parameters: structured_outputs",
    "Unsupported JSON schema: the keyword `minimum` is not permitted",
    "failed to build FSM for the given regex",
]


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_refused_format_is_known(text: str, status: int) -> None:
    error = mapped(status, openai_error(text))
    assert isinstance(error, ParameterRejected), error
    assert meaning.is_about_format(error.words)
    assert not meaning.is_about_system(error.words)
    assert isinstance(error.otherwise, JudgeUnavailable if status == 500 else JudgeRejected)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, openai_error("The response was filtered due to the prompt triggering the content "
                           "management policy.", "content_filter")),
        (400, {"error": {"code": "400", "message": "blocked", "innererror":
                         {"code": "ResponsibleAIPolicyViolation"}}}),
        (400, openai_error("Invalid prompt: your prompt was flagged as potentially violating our "
                           "usage policy.", "invalid_prompt")),
        (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate "
               "content.", "request_id": "1"}),
        (400, openai_error("Content Exists Risk")),
        (403, openai_error("anthropic/x requires moderation and your input was flagged")),
        (403, {"code": "forbidden", "error": "Content violates usage guidelines."}),
        (400, openai_error("The request was rejected because it was considered high risk",
                           "content_filter")),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message":
               "Output blocked by content filtering policy"}}),
        (400, {"error": {"code": "1301", "message": "\u654f\u611f\u5185\u5bb9"}}),
        (422, {"detail": "Blocked by moderation"}),
        (400, [{"error": {"code": 400, "message": "The prompt was blocked due to "
                          "PROHIBITED_CONTENT", "status": "INVALID_ARGUMENT"}}]),
        (400, {"message": "Sorry, the model cannot answer this question. Guardrail blocked"}),
        (400, {"error": {"code": "SensitiveContentDetected", "message": "The request failed"}}),
        (400, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
    ],
)  # fmt: skip
def test_a_content_filter_is_a_refusal_of_the_judge(status: int, body: Any) -> None:
    assert isinstance(mapped(status, body), JudgeRefused)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
        (402, openai_error("This request requires more credits, or fewer max_tokens. You requested "
                           "up to 4640 tokens, but can only afford 1200.")),
        (402, ""),
        (429, openai_error("You exceeded your current quota", "insufficient_quota")),
        (429, {"error": {"message": "x", "type": "insufficient_quota"}}),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit "
               "balance is too low to access the Anthropic API. Please go to Plans & Billing."}}),
        (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in "
               "good standing."}),
        (429, {"error": {"code": "1113", "message": "\u4f59\u989d\u4e0d\u8db3"}}),
        (403, {"code": "x", "error": "Your team has used all available credits"}),
        (429, {"error": {"type": "exceeded_current_quota_error", "message": "check your balance"}}),
        (412, openai_error("Account x is suspended, possibly due to reaching the monthly spending "
                           "limit or failure to pay past invoices.", "PRECONDITION_FAILED")),
        (403, {"error": {"message": "Key limit exceeded (total limit).", "code": 403}}),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "You have "
               "reached your specified API usage limits. You will regain access on 2026-12-01."}}),
        (400, {"error": {"message": "Budget has been exceeded! Current cost: 10.01, Max budget: "
                         "10.0", "type": "budget_exceeded", "code": "400"}}),
        (403, [{"error": {"code": 403, "message": "This API method requires billing to be enabled.",
                          "status": "PERMISSION_DENIED"}}]),
        (429, [{"error": {"code": 429, "message": "Your prepayment credits are depleted.",
                          "status": "RESOURCE_EXHAUSTED"}}]),
    ],
)  # fmt: skip
def test_no_credit_is_final(status: int, body: Any) -> None:
    assert isinstance(mapped(status, body), JudgeQuotaExhausted)


QUOTED = [
    "the invoice is overdue", "Too many requests", "the queue is full", "I have no credit",
    "rate limit exceeded", "payment required", "the prompt is too long", "server is busy",
    "your account is overdue",
]  # fmt: skip


@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("status", [400, 403])
def test_a_quoted_attempt_says_nothing_beside_a_code(quoted: str, status: int) -> None:
    filtered = {"code": "content_filter", "message": f"invalid prompt: ... {quoted}"}
    assert isinstance(mapped(status, filtered), JudgeRefused)
    if status == 400:
        unread = openai_error(f"Failed to generate JSON: {quoted}", "json_validate_failed")
        assert isinstance(mapped(status, unread), VerdictInvalid)
        too_long = openai_error(f"{quoted}: too long", "context_length_exceeded")
        assert isinstance(mapped(status, too_long), ContextOverflow)


@pytest.mark.parametrize(
    "quoted", ["the invoice is overdue", "Too many requests", "the queue is full", "server is busy"]
)
def test_a_quoted_attempt_says_nothing_of_the_server(quoted: str) -> None:
    assert isinstance(mapped(400, openai_error(f"invalid text: {quoted}")), ParameterRejected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": "Too many requests, please wait"}, JudgeRateLimited),
        ({"message": "Your request rate is too high"}, JudgeRateLimited),
        ({"message": "APIError: Rate limit reached for m"}, JudgeRateLimited),
        ({"message": "Request is aborted: The request queue is full."}, JudgeUnavailable),
        ({"message": "The server is overloaded"}, JudgeUnavailable),
        ({"message": "The model is over capacity"}, JudgeUnavailable),
        ({"message": "Your account is overdue"}, JudgeQuotaExhausted),
        ({"message": "There is an overdue payment"}, JudgeQuotaExhausted),
    ],
)
def test_a_server_that_is_busy_may_say_so_as_a_400(body: Any, expected: type[Exception]) -> None:
    assert isinstance(mapped(400, body), expected)


@pytest.mark.parametrize(
    ("body", "wait_s"),
    [
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your "
            "current quota, please check your plan and billing details. Quota exceeded for metric: "
            "free_tier_requests, limit: 10. Please retry in 1.2s.", "details": []}}], 1.2),
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo",
                         "retryDelay": "27s"}]}}], 27.0),
        (openai_error("Rate limit reached on tokens per day (TPD): Limit 100000, Used 99000, "
            "Requested 3000. Please try again in 32m1.344s.", "rate_limit_exceeded"), 1921.344),
        (openai_error("Rate limit reached. Please try again in 523ms."), 0.523),
        (openai_error("Requests to this operation have exceeded the call rate limit. Please retry "
            "after 20 seconds."), 20.0),
        ({"message": "Too many requests, wait 1 minute and 5 seconds"}, 65.0),
        ({"detail": "Rate limit exceeded, retry in 2 hours"}, 3600.0),
        ({"error": "rate_limited", "retry_after": 1.5}, 1.5),
        ({"message": "quota of requests per minute"}, None),
        ("slow down, there are 30 others", None),
    ],
)  # fmt: skip
def test_a_limit_per_time_is_waited_out(body: Any, wait_s: float | None) -> None:
    error = mapped(429, body)
    assert isinstance(error, JudgeRateLimited), error
    assert error.retry_after_s == pytest.approx(wait_s)


def test_a_model_that_loads_says_how_long_it_takes() -> None:
    error = mapped(503, {"error": "Model m is currently loading", "estimated_time": 20.5})
    assert isinstance(error, JudgeUnavailable)
    assert error.retry_after_s == 20.5


@pytest.mark.parametrize(
    "body",
    [
        openai_error("Failed to generate JSON. Please adjust your prompt. See 'failed_generation'.",
                     "json_validate_failed"),
        openai_error("Failed to validate JSON. Please adjust your prompt."),
        {"message": "The model generated invalid JSON", "code": "x"},
    ],
)  # fmt: skip
def test_a_reply_that_the_endpoint_cannot_read_is_faulty(body: Any) -> None:
    assert isinstance(mapped(400, body), VerdictInvalid)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, openai_error("Incorrect API key provided"), JudgeRejected),
        (403, "<html><h1>Access denied</h1> by the system administrator</html>", JudgeRejected),
        (404, openai_error("The model `m` does not exist"), JudgeRejected),
        (404, {"detail": "Not Found"}, JudgeRejected),
        (405, {"detail": "Method Not Allowed"}, JudgeRejected),
        (307, "", JudgeRejected),
        (499, "", JudgeUnavailable),
        (500, "Internal Server Error", JudgeUnavailable),
        (500, {"error": {"message": "CUDA out of memory"}}, JudgeUnavailable),
        (502, "<html><center><h1>502 Bad Gateway</h1></center></html>", JudgeUnavailable),
        (503, {"error": {"message": "The engine is overloaded, reduce your request rate"}},
         JudgeUnavailable),
        (504, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
         JudgeUnavailable),
        (500, "context deadline exceeded", JudgeUnavailable),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
         JudgeUnavailable),
        (400, openai_error("the moon is wrong"), ParameterRejected),
        (400, openai_error("Invalid value for temperature: must be at most 1"), ParameterRejected),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
         ParameterRejected),
    ],
)  # fmt: skip
def test_other_failures_are_not_taken_for_these(
    status: int, body: Any, expected: type[Exception]
) -> None:
    assert type(mapped(status, body)) is expected


@pytest.mark.parametrize(
    "text",
    ["the moon is wrong", "Invalid value for temperature", "model `system-1` does not exist"],
)
def test_other_words_are_about_neither_format_nor_system(text: str) -> None:
    words = read_words(json.dumps(openai_error(text)).encode())
    assert not meaning.is_about_format(words)
    assert not meaning.is_about_system(words)
