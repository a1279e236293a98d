"""pydantic's complaints in our words: pointer, expected, got."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nbest.errors import FormatError, NonFiniteFeatureError, shorten
from service.errors import InvalidRequestError, pointer

M = TypeVar("M", bound=BaseModel)
_FINITE = {"non_finite_feature", "finite_number"}


def validated(model: type[M], value: object, at: tuple[str | int, ...] = ()) -> M:
    """`value` as a `model`; the first complaint as an error of ours, its pointer beginning with `at`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _translated(error.errors(include_url=False), at) from None


def _translated(
    complaints: list[ErrorDetails], at: tuple[str | int, ...]
) -> FormatError | NonFiniteFeatureError:
    # A union complains once per branch: the branch that went deepest is the one that was meant.
    branched = any(_is_branch(str(part)) for part in complaints[0]["loc"])
    first = max(complaints, key=lambda one: len(_path(one))) if branched else complaints[0]
    message, expected = _words(first)
    if len(complaints) > 1 and not branched:
        message += f" (and {len(complaints) - 1} more)"
    where, got = pointer([*at, *_path(first)]), _shown(first)
    kind = NonFiniteFeatureError if first["type"] in _FINITE else InvalidRequestError
    return kind(message, where=where, expected=expected, got=got)


def _path(complaint: ErrorDetails) -> list[str | int]:
    """The complaint's place in the document, without the names of union branches."""
    path = list(complaint["loc"])
    if complaint["type"] == "missing":
        path.pop()
    return [part for part in path if not (isinstance(part, str) and _is_branch(part))]


def _is_branch(part: str) -> bool:
    # pydantic puts the branch of a union into the path: `InlineWeights`, `str`, `list[str]`, `function-...`.
    return part in {"str", "InlineWeights", "int", "float"} or part.startswith(("list[", "function-"))


def _words(complaint: ErrorDetails) -> tuple[str, str | None]:
    context: dict[str, Any] = complaint.get("ctx", {})
    match complaint["type"]:
        case "missing":
            return f"missing field {complaint['loc'][-1]!r}", f"a field {complaint['loc'][-1]!r}"
        case "extra_forbidden":
            return "unknown field", "one of the documented fields"
        case "non_finite_feature" | "finite_number":
            return "a number is not finite", "a finite number"
        case "feature_value":
            return "not a feature value", "a finite number or a list of them"
        case "literal_error":
            return "unknown choice", str(context["expected"])
        case "too_short":
            return "too few entries", f"at least {context['min_length']}"
        case "string_unicode":
            return "text with a lone surrogate is not Unicode", "Unicode text"
        case "greater_than" | "greater_than_equal":
            return "number out of range", complaint["msg"].removeprefix("Input should be ")
        case _:
            return "wrong type", complaint["msg"].removeprefix("Input should be ")


def _shown(complaint: ErrorDetails) -> str:
    if complaint["type"] == "missing":
        return "none"
    value = complaint["input"]
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return {None: "null", True: "true", False: "false"}.get(value) or shorten(str(value)).strip("'")
