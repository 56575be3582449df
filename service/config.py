"""The judges file: YAML -> validated judges, or a ConfigError that names the line at fault."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    HttpUrl,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.checks import AnyCheck
from service.errors import ConfigError

RewardKind = Literal["win_probability", "rank", "score"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Price(_Model):
    """US dollars per million tokens."""

    prompt: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    cached: Annotated[FiniteFloat, Field(ge=0)] | None = None
    completion: Annotated[FiniteFloat, Field(ge=0)] = 0.0

    def cost_usd(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """What a call cost, in US dollars; `cached_tokens` are a part of `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        spent = fresh * self.prompt + cached_tokens * cached + completion_tokens * self.completion
        return spent / 1e6


class ChecksJudge(_Model):
    """A judge without an LLM: deterministic criteria."""

    kind: Literal["checks"] = "checks"
    criteria: Annotated[list[AnyCheck], Field(min_length=1)]
    reward: RewardKind = "win_probability"
    fallback: list[str] = []

    @property
    def gates(self) -> list[AnyCheck]:
        return [check for check in self.criteria if check.gate]


class LLMJudge(_Model):
    """A judge behind an OpenAI-compatible endpoint."""

    kind: Literal["llm"] = "llm"
    model: Annotated[str, Field(min_length=1)]
    base_urls: Annotated[list[HttpUrl], Field(min_length=1)]
    api_key_env: str | None = None
    method: Literal["listwise"] = "listwise"
    passes: Annotated[int, Field(ge=1, le=64)] = 4
    rubric: str | None = None
    fallback: list[str] = []
    gates: list[AnyCheck] = []
    reward: RewardKind = "win_probability"
    noise_sd: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None, description="sd of one score of this judge; used where one pass cannot tell"
    )
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    extra_body: dict[str, Any] = {}
    max_tokens: Annotated[int, Field(ge=16)] | None = Field(
        default=None, description="cap on a reply; by default 160 per trajectory + 4,096 to think"
    )
    response_format: Literal["auto", "json_schema", "json_object", "text"] = "auto"
    context_tokens: Annotated[int, Field(ge=512)] | None = None
    price: Price | None = None
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = Field(60.0, description="of one attempt")
    attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        default=4, description="of one call, when the endpoint errs"
    )
    concurrency: Annotated[int, Field(ge=1)] = Field(256, description="calls in flight")

    @field_validator("passes", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError(
                "the form {min, max, until_stderr} is not available yet: give a number"
            )
        return value

    @field_validator("base_urls")
    @classmethod
    def _no_credentials(cls, urls: list[HttpUrl]) -> list[HttpUrl]:
        if any(url.username or url.password or url.query for url in urls):
            raise ValueError("keys are only ever given by api_key_env, not inside a URL")
        return urls

    @field_validator("api_key_env")
    @classmethod
    def _key_is_set(cls, name: str | None) -> str | None:
        key = _key(name)
        if name and not key:
            raise ValueError(f"the environment variable {name} is not set")
        if key and not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in {name} holds characters that a header cannot carry")
        return name

    @property
    def api_key(self) -> str | None:
        return _key(self.api_key_env)


def _key(name: str | None) -> str | None:
    """The key in an environment variable; files that keys are read from end in a newline."""
    return os.environ.get(name, "").strip() or None if name else None


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", "llm"))
    return str(getattr(value, "kind", "llm"))


JudgeConfig = Annotated[
    Annotated[LLMJudge, Tag("llm")] | Annotated[ChecksJudge, Tag("checks")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="kind must be llm (the default) or checks",
        custom_error_context={"loc": ("kind",)},
    ),
]


class Config(_Model):
    """The whole file."""

    default_judge: str
    judges: Annotated[dict[str, JudgeConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        known = ", ".join(self.judges)
        if self.default_judge not in self.judges:
            raise _unknown(self.default_judge, known, "default_judge")
        for name, judge in self.judges.items():
            for other in judge.fallback:
                if other not in self.judges:
                    raise _unknown(other, known, "judges", name, "fallback")
        return self

    def chain(self, name: str) -> list[str]:
        """The judges to ask in turn: `name`, then its fallbacks, depth first, each once."""
        names: list[str] = []
        stack = [name]
        while stack:
            current = stack.pop()
            if current not in names:
                names.append(current)
                stack.extend(reversed(self.judges[current].fallback))
        return names


def _unknown(name: str, known: str, *loc: str) -> PydanticCustomError:
    return PydanticCustomError(
        "unknown_judge",
        "{name} is not among: {known}",
        {"name": repr(name), "known": known, "loc": loc},
    )


DEFAULT = Config.model_validate(
    {
        "default_judge": "checks",
        "judges": {"checks": {"kind": "checks", "criteria": [{"check": "matches_reference"}]}},
    }
)


def load(path: Path | None) -> Config:
    """Read the judges file; the embedded default if there is none.

    Raises:
        ConfigError: If the file cannot be read, is not YAML, or breaks a rule; names the line.
    """
    if path is None:
        return DEFAULT
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """`load` for text; `name` is what errors call it."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_odd_nodes(root, name)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{name}{line}: not YAML: {' '.join(str(problem).split())}") from error
    except ValueError as error:  # what looks like a date or a number, and is none
        raise ConfigError(f"{name}: not YAML: {error}: put it in quotes") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deep, or contains itself") from error
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        below = first.get("ctx", {}).get("loc", ())
        where, at_line = _locate(root, (*first["loc"], *below))
        what = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}:{at_line}: {where}: {what}") from error


def _locate(node: yaml.Node | None, loc: tuple[int | str, ...]) -> tuple[str, int]:
    """An error's place in the document: its dotted path and its line, from 1.

    `loc` also names the members of unions that pydantic tried; those are not in the document.
    """
    path: list[str] = []
    line = node.start_mark.line + 1 if node else 1
    for depth, part in enumerate(loc):
        key, value = _child(node, part)
        if key and value:
            line, node = key.start_mark.line + 1, value
        if key or depth == len(loc) - 1:
            path.append(str(part))
    return ".".join(path) or "the file", line


def _child(
    node: yaml.Node | None, part: int | str
) -> tuple[yaml.Node, yaml.Node] | tuple[None, None]:
    """The key node and the value node at `part`; for a list item both are the item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None, None


def _refuse_odd_nodes(node: yaml.Node | None, name: str) -> None:
    """Repeated keys, of which YAML keeps the last, and text that cannot be sent."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"{name}:{line}: {key.value} stands twice in one mapping")
            seen.add(str(key.value))
            _refuse_odd_nodes(key, name)
            _refuse_odd_nodes(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_odd_nodes(item, name)
    elif isinstance(node, yaml.ScalarNode):
        try:
            node.value.encode()
        except UnicodeEncodeError as error:
            line = node.start_mark.line + 1
            raise ConfigError(f"{name}:{line}: holds half a character (a surrogate)") from error
