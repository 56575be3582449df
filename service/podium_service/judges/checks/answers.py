"""Criteria that look at the final answer: its text, its numbers, its JSON, its length."""

from collections.abc import Iterator
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
from podium_service.judges.checks.base import NAME, Criterion, find_final_answer, normalise
from podium_service.schemas import Trajectory

REGEX_TIMEOUT_S = 0.2
# Commas count only between thousands, and a minus only where it is no hyphen.
_NUMBER = regex.compile(
    r"(?:(?<!\w)-)?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:e[+-]?[0-9]{1,4}(?![0-9]))?",
    regex.IGNORECASE,
)
_FENCED = regex.compile(r"^```\w*\n(.*)\n```$", regex.DOTALL)


class MatchesReference(Criterion):
    """The final answer equals the reference, in the way that `how` says."""

    check: Annotated[Literal["matches_reference"], NAME]
    how: Annotated[Literal["exact", "contains", "number"], QUALITY] = "exact"
    """`exact` (the default): the same text, spaces and case aside; `contains`: the reference occurs
    in the answer; `number`: the last number of the answer equals the last number of the
    reference."""
    needs_reference: ClassVar[bool] = True

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        if reference is None:
            raise ReferenceRequired("reference is null, but matches_reference compares with it")
        answer = find_final_answer(trajectory)
        if self.how == "number":
            number = _read_last_number(reference)
            return number is not None and _read_last_number(answer) == number
        answer, reference = normalise(answer), normalise(reference)
        return answer == reference if self.how == "exact" else reference in answer


class Contains(Criterion):
    """The final answer contains `text`."""

    check: Annotated[Literal["contains"], NAME]
    text: Annotated[str, Field(min_length=1), QUALITY]
    """Text that the final answer must contain."""
    case_sensitive: Annotated[bool, QUALITY] = False
    """True: capitals must match, too."""

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        answer = find_final_answer(trajectory)
        if self.case_sensitive:
            return self.text in answer
        return self.text.casefold() in answer.casefold()


class Regex(Criterion):
    """`pattern` matches somewhere in the final answer."""

    check: Annotated[Literal["regex"], NAME]
    pattern: Annotated[str, Field(min_length=1), QUALITY]
    """Regular expression (of the Python package `regex`) that must match somewhere in the final
    answer."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return _search(self.pattern, find_final_answer(trajectory))


class JSONSchema(Criterion):
    """The final answer is JSON that meets `json_schema`; one code fence around it is allowed."""

    model_config = ConfigDict(populate_by_name=True)

    check: Annotated[Literal["json_schema"], NAME]
    json_schema: Annotated[dict[str, Any], QUALITY, Field(alias="schema")]
    """JSON schema that the final answer must meet; references to other documents are never
    fetched."""
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
        extended = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # not typed there
            dialect, {"pattern": _validate_pattern}
        )
        # With an empty registry nothing is ever fetched for a `$ref`.
        self._validator = extended(self.json_schema, registry=EMPTY_REGISTRY)

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        answer = find_final_answer(trajectory).strip()
        fenced = _FENCED.match(answer)
        try:
            return bool(self._validator.is_valid(orjson.loads(fenced[1] if fenced else answer)))
        except orjson.JSONDecodeError:
            return False
        except (Unresolvable, ArithmeticError, RecursionError) as error:
            raise CriterionFailed(f"json_schema cannot be applied: {error}") from error


class MaxWords(Criterion):
    """The final answer has at most `words` words."""

    check: Annotated[Literal["max_words"], NAME]
    words: Annotated[int, Field(ge=0), QUALITY]
    """Most words of the final answer."""

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return len(find_final_answer(trajectory).split()) <= self.words


def _read_last_number(text: str) -> Decimal | None:
    """Return the last number of a text, exactly; a typeset minus (U+2212) counts as a minus."""
    numbers = _NUMBER.findall(text.replace("\u2212", "-"))
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def _search(pattern: str, text: str) -> bool:
    """Tell whether the pattern occurs in the text, within the time limit."""
    try:
        return regex.search(pattern, text, timeout=REGEX_TIMEOUT_S) is not None
    except TimeoutError as error:
        raise CriterionFailed(
            f"regex {pattern!r} ran over {REGEX_TIMEOUT_S} s on one answer: "
            "rewrite it without nested repetition"
        ) from error


def _validate_pattern(
    _validator: Any, pattern: str, value: Any, _schema: Any
) -> Iterator[jsonschema.exceptions.ValidationError]:
    """Validate JSON Schema's `pattern` under the time limit."""
    if isinstance(value, str) and not _search(pattern, value):
        yield jsonschema.exceptions.ValidationError(f"does not match {pattern!r}")
