"""Open the dialect that a judge's settings name."""

from collections.abc import Callable

import httpx2

from podium_service.judges.endpoint.connection.transport import open_client
from podium_service.judges.endpoint.dialects.anthropic import AnthropicMessages
from podium_service.judges.endpoint.dialects.base import Address, Dialect
from podium_service.judges.endpoint.dialects.gemini import GeminiContent
from podium_service.judges.endpoint.dialects.openai_chat import OpenAIChat
from podium_service.judges.settings import LLMJudge

DIALECTS: dict[str, Callable[[Address, str, httpx2.AsyncClient], Dialect]] = {
    "openai": OpenAIChat,
    "anthropic": AnthropicMessages,
    "gemini": GeminiContent,
}


def open_dialect(config: LLMJudge, base_url: str) -> Dialect:
    """Return the API of a judge at one of its base URLs."""
    address = Address(
        base_url, config.api_key, config.read_headers(), config.read_query(), config.azure
    )
    http = open_client(base_url, config.ca_file, 2 * config.concurrency.max)
    return DIALECTS[config.api](address, config.model, http)
