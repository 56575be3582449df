"""The judges file: YAML -> validated judges, or a ConfigError that names the line at fault."""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from podium_service.errors import ConfigError
from podium_service.judges.base_settings import Settings
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", "llm"))
    return str(getattr(value, "kind", "llm"))


# What tells two entries for one judge apart, but not their verdicts.
_SAME_OPINION = {
    "base_urls", "api_key_env", "price", "timeout_s", "attempts", "concurrency", "fallback",
    "reward", "verified_weight", "gates", "steering",
}  # fmt: skip

AnyJudge = LLMJudge | JuryJudge | ChecksJudge
JudgeConfig = Annotated[
    Annotated[LLMJudge, Tag("llm")]
    | Annotated[JuryJudge, Tag("jury")]
    | Annotated[ChecksJudge, Tag("checks")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="kind must be llm (the default), jury or checks",
        custom_error_context={"loc": ("kind",)},
    ),
]


class Config(Settings):
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
            if isinstance(judge, JuryJudge):
                for member in judge.members:
                    if not isinstance(self.judges.get(member), LLMJudge):
                        llms = [each for each, it in self.judges.items() if it.kind == "llm"]
                        raise _unknown(member, ", ".join(llms), "judges", name, "members")
                self._differ(name, judge)
        return self

    def _differ(self, name: str, jury: JuryJudge) -> None:
        """Refuse jurors that differ in where they are asked only: theirs is one opinion."""
        seen: dict[str, str] = {}
        for member in jury.members:
            asked = self.judges[member].model_dump_json(exclude=_SAME_OPINION)
            if asked in seen:
                raise PydanticCustomError(
                    "same_juror",
                    "{member} is {other} under another name: asking a judge more often is `passes`",
                    {"member": member, "other": seen[asked], "loc": ("judges", name, "members")},
                )
            seen[asked] = member

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
