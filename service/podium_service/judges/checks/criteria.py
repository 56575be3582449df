"""Apply the criteria of a checks judge: does a trajectory meet each of them, and what is its score?

To add a criterion:

1. Subclass `Criterion` with `check: Annotated[Literal["its_name"], NAME]` and the fields it needs,
   each with a description and a group.
2. Write `holds`.
3. Add the class to `AnyCriterion`, where the judges file and the checks judge look it up.

Criteria that are meant as gates before an LLM judge are in `gates`.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import jsonschema.exceptions
import jsonschema.validators
import orjson
import regex
from pydantic import ConfigDict, Field, PrivateAttr, field_validator
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from podium_service.errors import CriterionFailed, ReferenceRequired
from podium_service.judges.base_settings import QUALITY
from podium_service.judges.checks.base import NAME, Criterion, final_answer, normalised
from podium_service.judges.checks.gates import NotEmpty, NotOpenerOnly, NotTruncated
from podium_service.schemas import Message, Trajectory

REGEX_TIMEOUT_S = 0.2
# Commas only between thousands; a minus only where it is no hyphen.
_NUMBER = regex.compile(
    r"(?:(?<!\w)-)?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:e[+-]?[0-9]{1,4}(?![0-9]))?",
    regex.IGNORECASE,
)
_FENCED = regex.compile(r"^```\w*\n(.*)\n```$", regex.DOTALL)
_TOOL_ERROR = regex.compile(r"\s*(?:error\b|traceback \(most recent call last\))", regex.IGNORECASE)


class MatchesReference(Criterion):
    """The final answer equals the reference; see `how` for what counts as equal."""

    check: Annotated[Literal["matches_reference"], NAME]
    how: Literal["exact", "contains", "number"] = Field(
        default="exact",
        description="`exact` (the default): the same text, spaces and case aside; `contains`: the "
        "reference occurs in the answer; `number`: the last number of the answer equals the last "
        "number of the reference",
        json_schema_extra=QUALITY,
    )
    needs_reference: ClassVar[bool] = True

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        if reference is None:
            raise ReferenceRequired("reference is null, but matches_reference compares with it")
        answer = final_answer(trajectory)
        if self.how == "number":
            number = _last_number(reference)
            return number is not None and _last_number(answer) == number
        answer, reference = normalised(answer), normalised(reference)
        return answer == reference if self.how == "exact" else reference in answer


class Contains(Criterion):
    """The final answer contains `text`."""

    check: Annotated[Literal["contains"], NAME]
    text: Annotated[str, Field(min_length=1)] = Field(
        description="text that the final answer must contain", json_schema_extra=QUALITY
    )
    case_sensitive: bool = Field(
        default=False,
        description="true: capitals must match, too; false by default",
        json_schema_extra=QUALITY,
    )

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        answer = final_answer(trajectory)
        if self.case_sensitive:
            return self.text in answer
        return self.text.casefold() in answer.casefold()


class Regex(Criterion):
    """`pattern` matches somewhere in the final answer."""

    check: Annotated[Literal["regex"], NAME]
    pattern: Annotated[str, Field(min_length=1)] = Field(
        description="regular expression (of the Python package `regex`) that must match somewhere "
        "in the final answer",
        json_schema_extra=QUALITY,
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return _search(self.pattern, final_answer(trajectory))


class JSONSchema(Criterion):
    """The final answer is JSON that meets `json_schema`; one code fence around it is allowed."""

    model_config = ConfigDict(populate_by_name=True)

    check: Annotated[Literal["json_schema"], NAME]
    json_schema: dict[str, Any] = Field(
        alias="schema",
        description="JSON schema that the final answer must meet; references to other documents "
        "are never fetched",
        json_schema_extra=QUALITY,
    )
    _validator: Any = PrivateAttr(default=None)

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            jsonschema.validators.validator_for(schema).check_schema(schema)
        except jsonschema.exceptions.SchemaError as error:
            raise ValueError(f"not a JSON schema: {error.message}") from error
        return schema

    def model_post_init(self, _: Any) -> None:
        dialect = jsonschema.validators.validator_for(self.json_schema)
        extended = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
            dialect, {"pattern": _pattern}
        )
        # The registry: nothing is ever fetched for a `$ref`.
        self._validator = extended(self.json_schema, registry=EMPTY_REGISTRY)

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        answer = final_answer(trajectory).strip()
        fenced = _FENCED.match(answer)
        try:
            value = orjson.loads(fenced[1] if fenced else answer)
        except orjson.JSONDecodeError:
            return False
        try:
            return bool(self._validator.is_valid(value))
        except (Unresolvable, ArithmeticError, RecursionError) as error:
            raise CriterionFailed(f"json_schema cannot be applied: {error}") from error


class MaxWords(Criterion):
    """The final answer has at most `words` words."""

    check: Annotated[Literal["max_words"], NAME]
    words: Annotated[int, Field(ge=0)] = Field(
        description="most words of the final answer", json_schema_extra=QUALITY
    )

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return len(final_answer(trajectory).split()) <= self.words


class MaxTurns(Criterion):
    """The agent took at most `turns` turns (assistant messages)."""

    check: Annotated[Literal["max_turns"], NAME]
    turns: Annotated[int, Field(ge=1)] = Field(
        description="most assistant messages of the trajectory", json_schema_extra=QUALITY
    )

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return sum(message.role == "assistant" for message in trajectory.messages) <= self.turns


class CallsTool(Criterion):
    """The agent called the tool `name` at least once."""

    check: Annotated[Literal["calls_tool"], NAME]
    name: Annotated[str, Field(min_length=1)] = Field(
        description="name of the tool that must be called", json_schema_extra=QUALITY
    )

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        calls = (call for message in trajectory.messages for call in message.tool_calls or ())
        return any(call.function.name == self.name for call in calls)


class NoToolErrors(Criterion):
    """No tool result reports an error: text that starts with "error" or a traceback, or a JSON
    object with a truthy `error`."""

    check: Annotated[Literal["no_tool_errors"], NAME]

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return not any(m.role == "tool" and _is_error(m) for m in trajectory.messages)


AnyCriterion = Annotated[
    MatchesReference
    | Contains
    | Regex
    | JSONSchema
    | MaxWords
    | MaxTurns
    | CallsTool
    | NoToolErrors
    | NotEmpty
    | NotOpenerOnly
    | NotTruncated,
    Field(discriminator="check"),
]


def find_failed(
    criteria: Sequence[Criterion], trajectory: Trajectory, reference: str | None
) -> list[Criterion]:
    """The criteria that the trajectory does not meet, in their order."""
    return [check for check in criteria if not check.holds(trajectory, reference)]


def score_criteria(criteria: Sequence[Criterion], failed: Sequence[Criterion]) -> float:
    """The weighted share of the criteria met, gates aside; 1 where all are gates."""
    total = sum(check.weight for check in criteria if not check.gate)
    lost = sum(check.weight for check in failed if not check.gate)
    return 1.0 - lost / total if total else 1.0


def _last_number(text: str) -> Decimal | None:
    """Exact; a typeset minus (U+2212) counts as one."""
    numbers = _NUMBER.findall(text.replace("\u2212", "-"))
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def _search(pattern: str, text: str) -> bool:
    """Whether the pattern occurs.

    Raises:
        CriterionFailed: If that takes too long.
    """
    try:
        return regex.search(pattern, text, timeout=REGEX_TIMEOUT_S) is not None
    except TimeoutError as error:
        raise CriterionFailed(
            f"regex {pattern!r} ran over {REGEX_TIMEOUT_S} s on one answer: "
            "rewrite it without nested repetition"
        ) from error


def _pattern(
    _validator: Any, pattern: str, value: Any, _schema: Any
) -> Iterator[jsonschema.exceptions.ValidationError]:
    """JSON schema's `pattern`, under the time limit."""
    if isinstance(value, str) and not _search(pattern, value):
        yield jsonschema.exceptions.ValidationError(f"does not match {pattern!r}")


def _is_error(message: Message) -> bool:
    text = message.text
    if _TOOL_ERROR.match(text):
        return True
    if not text.lstrip().startswith("{"):
        return False
    try:
        result = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(result, dict) and bool(result.get("error"))
