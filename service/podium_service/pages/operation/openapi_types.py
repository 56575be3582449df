"""Say what an OpenAPI schema allows, in words, with the names of models apart to be linked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
_WORDS = {"string": "text", "boolean": "true or false", "null": "null", "object": "object"}
_BOUNDS = (  # least and greatest value, and of what
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)


@dataclass(frozen=True)
class Word:
    """A piece of a type's description.

    Attributes:
        model: whether the text is the name of a model.
    """

    text: str
    model: bool = False


@dataclass(frozen=True)
class Field:
    """One parameter, or one field of a body.

    Attributes:
        place: where a parameter stands, "path" or "query"; "" for a field of a body.
        rules: bounds and the default, in words.
    """

    name: str
    type: list[Word]
    is_required: bool
    rules: str
    text: str
    place: str = ""


def model_fields(schema: Schema) -> list[Field]:
    """Return the fields of a model."""
    required = schema.get("required", [])
    return [
        Field(
            name,
            list(words(field)),
            name in required,
            rules(field),
            str(field.get("description", "")),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def parameter_fields(parameters: list[dict[str, Any]]) -> list[Field]:
    """Return the parameters of an operation."""
    return [
        Field(
            each["name"],
            list(words(each["schema"])),
            bool(each.get("required")),
            rules(each["schema"]),
            str(each.get("description") or each["schema"].get("description", "")),
            each["in"],
        )
        for each in parameters
    ]


def words(schema: Schema) -> Iterator[Word]:
    """Yield what a schema's type is."""
    if "$ref" in schema:
        yield Word(model_name(schema), model=True)
    elif members := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        for index, member in enumerate(members):
            if index:
                yield Word(" or ")
            yield from words(member)
    elif "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        yield Word(" or ".join(json.dumps(value) for value in values))
    elif schema.get("type") == "array":
        yield Word("list of ")
        yield from words(schema.get("items", {}))
    elif isinstance(schema.get("additionalProperties"), Mapping) and not schema.get("properties"):
        yield Word("object of ")
        yield from words(schema["additionalProperties"])
    else:
        kind = str(schema.get("type", "any value"))
        yield Word(_WORDS.get(kind, kind))


def rules(schema: Schema) -> str:
    """Return the bounds and the default of a schema in words."""
    found = [
        text
        for member in (schema, *schema.get("anyOf", ()))
        for low, high, unit in _BOUNDS
        if (text := _range(member.get(low), member.get(high), unit))
    ]
    found += [
        f"more than {_number(member['exclusiveMinimum'])}"
        for member in (schema, *schema.get("anyOf", ()))
        if "exclusiveMinimum" in member
    ]
    if schema.get("default") is not None:
        found.append(f"default {json.dumps(schema['default'])}")
    return ", ".join(found)


def _range(low: float | None, high: float | None, unit: str) -> str:
    if low is None:
        return "" if high is None else f"at most {_number(high)}{unit}"
    return (
        f"at least {_number(low)}{unit}"
        if high is None
        else (f"{_number(low)} to {_number(high)}{unit}")
    )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def model_name(schema: Schema) -> str:
    """Return the name of the model that a schema refers to; "" if it refers to none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]
