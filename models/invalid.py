"""What pydantic finds wrong, as one fault for this project's errors."""

from dataclasses import dataclass

from pydantic import ValidationError

from nbest.errors import shorten


@dataclass(frozen=True)
class Fault:
    """The first thing that is wrong.

    place    what leads to it, from the outside in; nothing where values do not go together
    message  what is wrong
    value    what is there, shortened
    """

    place: tuple[str | int, ...]
    message: str
    value: str

    def __str__(self) -> str:
        name = ".".join(map(str, self.place))
        return f"{name}: {self.message}" if name else self.message


def first_fault(error: ValidationError) -> Fault:
    """The first fault of an error."""
    first = error.errors(include_url=False)[0]
    value = first["input"]
    text = shorten(value) if isinstance(value, str) else shorten(repr(value)).strip("'\"")
    return Fault(first["loc"], first["msg"].removeprefix("Value error, "), text)
