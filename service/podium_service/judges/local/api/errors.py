"""Errors in the form that clients of OpenAI's API read."""

from typing import Any


class APIError(Exception):
    """An error that is answered to the client.

    Args:
        status: of HTTP.
        message: the value, the rule, and what to do.
        code: for programs; None if the message says it all.
        param: the parameter at fault.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the body of the response."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


def context_exceeded(context_tokens: int, prompt_tokens: int, reply_tokens: int) -> APIError:
    """Return the error of a prompt and a reply that do not fit the context together."""
    return APIError(
        400,
        f"this model's maximum context length is {context_tokens} tokens, and "
        f"{prompt_tokens + reply_tokens} were requested ({prompt_tokens} in the messages, "
        f"{reply_tokens} in the completion): shorten them, or serve with a larger --context",
        code="context_length_exceeded",
        param="messages",
    )
