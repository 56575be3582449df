"""The settings that say where a judge's endpoints are, and what every request to them has."""

import datetime
import re
import ssl
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, quote_plus

from pydantic import Field, HttpUrl, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from podium_service.judges.base_settings import NETWORK
from podium_service.judges.link_local import is_link_local
from podium_service.judges.settings.common import GatedJudge
from podium_service.judges.settings.secrets import (
    fill_in_variables,
    read_key,
    refuse_variable,
    require_key,
    require_references,
)

API = Literal["openai", "anthropic", "gemini"]

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# What a request's own body, address and connection decide.
_OWN_HEADERS = frozenset(
    ("host", "content-length", "content-type", "content-encoding", "transfer-encoding",
     "connection", "te", "trailer", "upgrade")
)  # fmt: skip
# What people copy from the documentation of an API, with the URL before it.
_CALLED = re.compile(r"/(?:chat/completions|completions|messages|responses)/?$|(?<=/v1)/models/?$")
_SEVERAL = re.compile(r"[\s,]+\w+://")
_PATHS = {"openai": "v1", "anthropic": "v1", "gemini": "v1beta"}
# Where OpenAI's API has another path, by the end of the host's name.
_HOST_PATHS = {
    ".openai.azure.com": "openai/v1",
    ".services.ai.azure.com": "openai/v1",
    "openrouter.ai": "api/v1",
    "api.groq.com": "openai/v1",
    "generativelanguage.googleapis.com": "v1beta/openai",
}
# Settings that only some APIs have, and what an extra_body holds there instead.
_LACKS = {
    "anthropic": {
        "seed": "Anthropic's API has none",
        "reasoning_effort": "write extra_body: {thinking: {type: enabled, budget_tokens: 2048}}",
    },
    "gemini": {
        "reasoning_effort": "write extra_body: {generationConfig: {thinkingConfig: "
        "{thinkingBudget: 1024}}}",
    },
}


class ConnectedJudge(GatedJudge):
    """The settings of a judge that is asked over the network."""

    api: Annotated[API, NETWORK] = "openai"
    """API that the endpoints speak: `openai` (the default), chat completions, which nearly all
    servers and gateways offer; `anthropic`, Messages; `gemini`, generateContent. The last two were
    never tested against the hosted APIs, only against scripted servers."""
    base_urls: Annotated[list[HttpUrl], Field(min_length=1), NETWORK]
    """URLs of the endpoints, up to and including `/v1` (of Gemini's API `/v1beta`), which is added
    to a URL without a path (at some known hosts another one); of several, the one that has the
    prompt's beginning cached is preferred, then the least busy one."""
    azure: Annotated[str | None, NETWORK] = None
    """Version of Azure OpenAI's API, such as `2024-10-21`: `base_urls` are then resources, such as
    `https://NAME.openai.azure.com`, and `model` is the deployment; unset for any other endpoint,
    also for Azure's own `/openai/v1`."""
    api_key_env: Annotated[str | None, NETWORK] = None
    """Name of the environment variable that holds the endpoint's API key, never the key itself; no
    key is sent unless set."""
    headers: Annotated[dict[str, str], NETWORK] = Field(default_factory=dict)
    """Headers of every request to the endpoints, such as `{X-Team: rl, X-Gateway-Key:
    '${GATEWAY_KEY}'}`: `${NAME}` stands for the environment variable, whose value is never shown,
    and has to where a name speaks of a key; one that the API needs, such as `Authorization`, is
    replaced."""
    query: Annotated[dict[str, str], NETWORK] = Field(default_factory=dict)
    """Query parameters of every request to the endpoints, such as `{api-version: '2024-10-21'}`;
    `${NAME}` as in `headers`."""
    ca_file: Annotated[str | None, NETWORK] = None
    """File with the certificates (PEM) of authorities that are trusted beside the usual ones, which
    are the system's, or those of `SSL_CERT_FILE`; none unless set."""

    _completed: list[HttpUrl] = PrivateAttr(default_factory=list)

    @field_validator("base_urls", mode="before")
    @classmethod
    def _urls_are_whole(cls, urls: Any) -> Any:
        for index, url in enumerate(urls if isinstance(urls, list) else ()):
            if not isinstance(url, str):
                continue
            rule = refuse_variable(url)
            if _SEVERAL.search(url):
                rule = "these are several URLs: write them as a list, [URL, URL]"
            elif "://" not in url:
                rule = rule or "a URL begins with http:// or https://"
            if rule:
                raise PydanticCustomError("url", "{rule}", {"rule": rule, "loc": (index,)})
        return urls

    @field_validator("base_urls")
    @classmethod
    def _urls_are_bare_and_not_link_local(cls, urls: list[HttpUrl]) -> list[HttpUrl]:
        for url in urls:
            if url.username or url.password or url.fragment:
                raise ValueError("keys are only ever given by api_key_env, not inside a URL")
            if url.query:
                raise ValueError("write what follows the ? as the setting query, not inside a URL")
            if ending := _CALLED.search(url.path or ""):
                raise ValueError(f"leave {ending[0]} out: each call adds it to the URL")
            if is_link_local(url.host or ""):
                raise ValueError(f"{url.host} is link-local: no judge is asked there")
        return urls

    @field_validator("azure", mode="before")
    @classmethod
    def _version_may_be_a_date(cls, version: Any) -> Any:
        return _as_text(version)

    @field_validator("headers", "query", mode="before")
    @classmethod
    def _values_may_be_plain(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {name: _as_text(value) for name, value in values.items()}

    @field_validator("api_key_env")
    @classmethod
    def _key_is_set(cls, variable: str | None) -> str | None:
        if variable:
            require_key(variable)
        return variable

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("the name of a header holds characters that none may have")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name} is set by each request itself")
        return headers

    @field_validator("headers", "query")
    @classmethod
    def _variables_are_set(cls, values: dict[str, str]) -> dict[str, str]:
        require_references(values)
        for name, value in values.items():
            text = fill_in_variables(value)
            if not (text.isascii() and (text.isprintable() or not text)):
                raise ValueError(f"{name} holds characters that a request cannot carry")
        return values

    @field_validator("ca_file")
    @classmethod
    def _certificates_can_be_read(cls, file: str | None) -> str | None:
        try:
            if file:
                ssl.create_default_context(cafile=file)
        except ssl.SSLError as error:
            raise ValueError(f"{file} holds no certificates in PEM form") from error
        except OSError as error:
            raise ValueError(f"{file} cannot be read: {error.strerror}") from error
        return file

    @model_validator(mode="after")
    def _missing_paths_are_completed(self) -> Self:
        if self.azure is None:
            bare = [url for url in self.base_urls if url.path in (None, "/")]
            self._completed = [
                HttpUrl(f"{str(url).rstrip('/')}/{_find_path(self.api, url)}") for url in bare
            ]
            completed = dict(zip(bare, self._completed, strict=True))
            self.base_urls = [completed.get(url, url) for url in self.base_urls]
        return self

    @model_validator(mode="after")
    def _api_has_these_settings(self) -> Self:
        if self.azure is not None and self.api != "openai":
            raise ValueError(f"azure is OpenAI's API, and api is {self.api}: leave one out")
        for name, rule in _LACKS.get(self.api, {}).items():
            if getattr(self, name, None) is not None:
                raise PydanticCustomError("api", "{rule}", {"rule": rule, "loc": (name,)})
        return self

    @property
    def completed_urls(self) -> list[str]:
        """The base URLs that were written without a path, with the one that was added."""
        return list(map(str, self._completed))

    @property
    def api_key(self) -> str | None:
        """The endpoint's key, read from the environment; None without one."""
        return read_key(self.api_key_env)

    def read_headers(self) -> dict[str, str]:
        """Return the headers as they are sent."""
        return {name: fill_in_variables(value) for name, value in self.headers.items()}

    def read_query(self) -> dict[str, str]:
        """Return the query parameters as they are sent."""
        return {name: fill_in_variables(value) for name, value in self.query.items()}

    def read_secrets(self) -> list[str]:
        """Return what no error may quote: the key and all headers and query parameters.

        They may also be quoted as they stand in an address.
        """
        sent = [*self.read_headers().values(), *self.read_query().values()]
        words = [word for each in sent for word in (each, each.rpartition(" ")[2])]
        least = 8  # a shorter one is no secret, and would be found in other words
        secrets = [*filter(None, [self.api_key]), *(word for word in words if len(word) >= least)]
        return [
            form for each in secrets for form in {each: 0, quote(each, ""): 0, quote_plus(each): 0}
        ]


def _find_path(api: API, url: HttpUrl) -> str:
    """Return the path of an API at a host."""
    ends = _HOST_PATHS if api == "openai" else {}
    known = (path for end, path in ends.items() if (url.host or "").endswith(end))
    return next(known, _PATHS[api])


def _as_text(value: Any) -> Any:
    """Return a number or a date as YAML has read it in the form in which it was written."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value) if type(value) in (int, float) else value
