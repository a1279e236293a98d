"""pydantic's complaints in our words: pointer, expected, got."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nbest.errors import FormatError, NonFiniteFeatureError, shorten
from service.errors import InvalidRequestError, pointer

M = TypeVar("M", bound=BaseModel)
_FINITE = {"non_finite_feature", "finite_number"}
_TYPES = {
    "string_type": "a string",
    "string_unicode": "Unicode text, without lone surrogates",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "bool_type": "true or false",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "feature_value": "a finite number or an array of them",
    "non_finite_feature": "a finite number",
    "finite_number": "a finite number",
}


def validated(model: type[M], value: object) -> M:
    """`value` as a `model`; raises InvalidRequestError or NonFiniteFeatureError with the first complaint."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _translated(error.errors(include_url=False), value) from None


def _translated(complaints: Sequence[ErrorDetails], document: object) -> FormatError | NonFiniteFeatureError:
    meant = _meant(complaints, document)
    first = meant[0]
    message, _ = _words(first)
    expected = " or ".join(dict.fromkeys(_words(one)[1] for one in meant))
    where = pointer(_path(first, document))
    kind = NonFiniteFeatureError if first["type"] in _FINITE else InvalidRequestError
    return kind(message, where=where, expected=expected, got=_shown(first))


def _meant(complaints: Sequence[ErrorDetails], document: object) -> list[ErrorDetails]:
    """The first complaint; where a union made it, those of the branch that was meant: the deepest.

    Branches of the same depth were meant alike: for a number, `a string or an object`.
    """
    first = complaints[0]
    path = _path(first, document)
    if first["type"] == "missing" or len(path) == len(_loc(first)):
        return [first]
    of_union = [one for one in complaints if one["loc"][: len(path)] == tuple(path)]
    depth = max(len(_loc(one)) for one in of_union)
    return [one for one in of_union if len(_loc(one)) == depth]


def _loc(complaint: ErrorDetails) -> tuple[int | str, ...]:
    """pydantic's path: with the names of union branches, and of a missing field; of an unknown one too."""
    if complaint["type"] == "unknown_field":
        return (*complaint["loc"], *complaint["ctx"]["field"])
    return complaint["loc"]


def _path(complaint: ErrorDetails, document: object) -> list[str | int]:
    """The complaint's place in the document: what of its `_loc` can be followed there."""
    path: list[str | int] = []
    for part in _loc(complaint):
        entries = isinstance(document, list) and isinstance(part, int)
        if entries or (isinstance(document, dict) and part in document):
            path.append(part)
            document = document[part]  # type: ignore[index]
    return path


def _words(complaint: ErrorDetails) -> tuple[str, str]:
    """What is wrong, and what is expected."""
    context: dict[str, Any] = complaint.get("ctx", {})
    match complaint["type"]:
        case "missing":
            name = repr(complaint["loc"][-1])
            return f"missing field {name}", f"a field {name}"
        case "unknown_field":
            return "unknown field", f"one of {context['known']}"
        case "non_finite_feature" | "finite_number" as kind:
            return "a number is not finite", _TYPES[kind]
        case "literal_error":
            return "unknown choice", str(context["expected"])
        case "too_short":
            return "too few entries", f"at least {context['min_length']}"
        case "too_long":
            return "too many entries", f"at most {context['max_length']}"
        case "greater_than":
            return "number out of range", f"more than {context['gt']}"
        case "greater_than_equal":
            return "number out of range", f"at least {context['ge']}"
        case "less_than_equal":
            return "number out of range", f"at most {context['le']}"
        case kind:
            return "wrong type", _TYPES.get(kind) or complaint["msg"].removeprefix("Input should be ")


def _shown(complaint: ErrorDetails) -> str:
    value = complaint["input"]
    if complaint["type"] == "missing":
        return "none"
    if complaint["type"] == "unknown_field":
        return shorten(*complaint["ctx"]["field"])
    if isinstance(value, str):
        # Of another type than it should be, "5" must not read as the number.
        choice = complaint["type"] in {"literal_error", "too_short", "string_too_short"}
        return shorten(value) if choice else f"the string {shorten(value)}"
    if isinstance(value, dict):
        return f"an object of {_counted(len(value), 'field')}"
    if isinstance(value, list):
        return f"an array of {_counted(len(value), 'entry', 'entries')}"
    return shorten(json.dumps(value)).strip("'")


def _counted(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"
