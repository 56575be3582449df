"""Read the judges file: YAML text to validated judges, or a ConfigError that names the lines.

All faults are reported at once, one a line. No error quotes a place where a key may stand: one
pasted into the wrong setting stays secret.
"""

import difflib
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from podium_service.errors import ConfigError
from podium_service.judges.base_settings import Settings
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.judges.settings.faults import Loc, find_faults

# Settings that do not change a judge's verdicts: judges that differ in these alone are one judge.
_NOT_IN_VERDICTS = {
    "api", "card", "base_urls", "azure", "api_key_env", "headers", "query", "ca_file", "price",
    "timeout_s", "attempts", "concurrency", "fallback", "reward", "verified_weight", "gates",
    "steering", "image_tokens", "max_images", "max_image_bytes",
}  # fmt: skip
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"
# What YAML errors quote from the file, but neither single characters nor parts of the grammar.
_QUOTED = re.compile(r"""'(?!<)[^']{3,}'|"(?!<)[^"]{3,}\"""")


def _judge_kind(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", "llm"))
    return str(getattr(value, "kind", "llm"))


Fault = tuple[Loc, str]  # where it is, and the rule
AnyJudge = LLMJudge | JuryJudge | ChecksJudge
JudgeConfig = Annotated[
    Annotated[LLMJudge, Tag("llm")]
    | Annotated[JuryJudge, Tag("jury")]
    | Annotated[ChecksJudge, Tag("checks")],
    Discriminator(
        _judge_kind,
        custom_error_type="kind",
        custom_error_message="kind must be llm (the default), jury or checks",
        custom_error_context={"loc": ("kind",)},
    ),
]


class Config(Settings):
    """The whole judges file."""

    default_judge: str
    judges: Annotated[dict[str, JudgeConfig], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _only_judge_is_default(cls, values: Any) -> Any:
        judges = values.get("judges") if isinstance(values, dict) else None
        if isinstance(judges, dict) and len(judges) == 1 and "default_judge" not in values:
            return {**values, "default_judge": next(iter(judges))}
        return values

    @model_validator(mode="after")
    def _names_exist_and_jurors_differ(self) -> Self:
        faults = [*self._unknown_names(), *self._idle_fallbacks(), *self._same_jurors()]
        if faults:
            rules = "; ".join(rule for _, rule in faults)
            raise PydanticCustomError("faults", "{rules}", {"rules": rules, "faults": faults})
        return self

    def _unknown_names(self) -> Iterator[Fault]:
        llms = [name for name, judge in self.judges.items() if isinstance(judge, LLMJudge)]
        if self.default_judge not in self.judges:
            yield ("default_judge",), _not_among(self.default_judge, self.judges)
        for name, judge in self.judges.items():
            for other in dict.fromkeys(judge.fallback):
                if other not in self.judges:
                    yield ("judges", name, "fallback"), _not_among(other, self.judges)
            if isinstance(judge, JuryJudge):
                for member in judge.members:
                    if member not in llms:
                        yield ("judges", name, "members"), _not_among(member, llms)

    def _idle_fallbacks(self) -> Iterator[Fault]:
        """Yield fallbacks that are never asked. Judges may name each other; `chain` says how."""
        for name, judge in self.judges.items():
            place = ("judges", name, "fallback")
            if name in judge.fallback:
                rule = f"{name} cannot stand in for itself: name another judge, or raise `attempts`"
                yield place, rule
            for other in [each for each, times in Counter(judge.fallback).items() if times > 1]:
                yield place, f"{other} stands there twice, and is asked once: leave one out"

    def _same_jurors(self) -> Iterator[Fault]:
        """Yield jurors with the same verdicts, because together they are one opinion."""
        for name, jury in self.judges.items():
            names: dict[str, str] = {}
            for member in jury.members if isinstance(jury, JuryJudge) else ():
                if member not in self.judges:
                    continue
                settings = self.judges[member].model_dump_json(exclude=_NOT_IN_VERDICTS)
                other = names.setdefault(settings, member)
                if other != member:
                    rule = f"{member} is {other} under another name: asking a judge more often is "
                    yield ("judges", name, "members"), f"{rule}`passes`"

    def chain(self, name: str) -> list[str]:
        """Return the judges to ask in turn: `name`, then its fallbacks, depth first, each once."""
        names: list[str] = []
        stack = [name]
        while stack:
            current = stack.pop()
            if current not in names:
                names.append(current)
                stack.extend(reversed(self.judges[current].fallback))
        return names


def _not_among(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    meant = f"; the nearest one is {near[0]}" if near else ""
    return f"{name!r} is not among: {', '.join(names)}{meant}"


DEFAULT = Config.model_validate(
    {
        "default_judge": "checks",
        "judges": {"checks": {"kind": "checks", "criteria": [{"check": "matches_reference"}]}},
    }
)


def load(path: Path | None) -> Config:
    """Read the judges file, or return the embedded default where there is none.

    Raises:
        ConfigError: If the file cannot be read, is not YAML, or breaks a rule; names the line.
    """
    if path is None:
        return DEFAULT
    try:
        content = path.read_bytes()
        is_utf16 = content.startswith((BOM_UTF16_LE, BOM_UTF16_BE))  # as PowerShell's > writes it
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8: save the file as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """Read a judges file's text; errors call it `name`.

    Raises:
        ConfigError: If it is not YAML, or breaks rules; names the line of each fault.
    """
    root, data = _parse_yaml(text, name)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        faults = [
            (*_locate(root, each.loc), each.rule) for each in find_faults(Config, data, error)
        ]
        faults.sort(key=lambda fault: fault[1])
        lines = [f"{name}:{line}: {where}: {rule}" for where, line, rule in faults]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _parse_yaml(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """Return the document as nodes, which know their lines, and as data.

    YAML's own errors are not chained, because they show the line at fault as it stands.
    """
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON may be indented by tabs, and YAML may not
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_odd_nodes(root, name)
        _take_names_as_texts(root)
        return root, _construct(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = _QUOTED.sub("'...'", str(getattr(error, "problem", None) or error))
        if r"'\t'" in problem:
            problem = "a tab stands where only spaces may: indent by spaces"
        raise ConfigError(f"{name}{line}: not YAML: {' '.join(problem.split())}") from None
    except ValueError:
        raise ConfigError(
            f"{name}: not YAML: a value looks like a date or a number and is neither: "
            "put it in quotes"
        ) from None
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deep, or contains itself") from error


def _take_names_as_texts(root: yaml.Node | None) -> None:
    """Have the places that name a judge or a model hold the name as it was written."""
    named = [_child(root, "default_judge")[1]]
    judges = _child(root, "judges")[1]
    for _, judge in judges.value if isinstance(judges, yaml.MappingNode) else ():
        model = _child(judge, "model")[1]
        named += [model] if model is not None and model.tag != _NULL else []
        for setting in ("fallback", "members"):
            names = _child(judge, setting)[1]
            named += names.value if isinstance(names, yaml.SequenceNode) else ()
    for node in named:
        if isinstance(node, yaml.ScalarNode) and node.value:
            node.tag = _TEXT


def _construct(root: yaml.Node | None) -> Any:
    """Return the data of a document whose names are the texts that were written.

    YAML takes a judge that is called `yes` or `1`, and a token in `logit_bias`, for no text.
    """
    if root is None:
        return None
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _locate(node: yaml.Node | None, loc: tuple[int | str, ...]) -> tuple[str, int]:
    """Return an error's place in the document: its dotted path and its line, from 1.

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
    """Return the key node and the value node at `part`; for a list item both are the item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None, None


def _refuse_odd_nodes(node: yaml.Node | None, name: str) -> None:
    """Refuse repeated keys, of which YAML keeps the last, and text that cannot be sent.

    The other keys become texts.
    """
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if str(key.value) in keys:
                line = key.start_mark.line + 1
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a key"
                raise ConfigError(f"{name}:{line}: {shown} stands twice in one mapping")
            keys.add(str(key.value))
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                key.tag = _TEXT
            _refuse_odd_nodes(key, name)
            _refuse_odd_nodes(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_odd_nodes(item, name)
    elif isinstance(node, yaml.ScalarNode) and re.search("[\ud800-\udfff]", node.value):
        line = node.start_mark.line + 1
        raise ConfigError(f"{name}:{line}: holds half a character (a surrogate)")
