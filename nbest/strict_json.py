"""JSON taken strictly: each key once, numbers finite, characters whole; errors name file and pointer."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from nbest.errors import InputError, shorten

MOST_NAMED = 10  # repeated keys in a message


class StrictJson:
    """Takes JSON apart; what is not as it should be raises `error` with ``where:pointer``.

    Pointers are those of RFC 6901; `at` is the pointer of the content that is checked.
    """

    def __init__(self, where: str, error: type[InputError]) -> None:
        self._where = where
        self._error = error

    def parse(self, text: str | bytes) -> Any:
        """The content of a JSON text; NaN, Infinity, repeated keys and lone surrogates are errors."""
        try:
            content = json.loads(text, object_pairs_hook=self._once, parse_constant=self._no_constant)
            json.dumps(content, ensure_ascii=False).encode()
            return content
        except UnicodeEncodeError as error:
            raise self._error(
                "a lone surrogate in a string",
                where=self._where,
                expected="whole characters",
                got=shorten(error.object[error.start]),
            ) from None
        except (ValueError, RecursionError) as error:
            raise self._error("not JSON", where=self._where, expected="JSON", got=str(error)) from None

    def mapping(
        self, content: Any, at: str, needed: set[str] | None = None, allowed: Iterable[str] = ()
    ) -> dict[str, Any]:
        """An object; with `needed`, one that has these keys and no others but the `allowed` ones."""
        if not isinstance(content, dict):
            raise self.wrong(at, "not an object", "an object", content)
        if needed is not None:
            keys = sorted({*needed, *allowed})
            for key in sorted(needed - content.keys()):
                raise self.wrong(at, f"{key!r} is missing", f"the keys {', '.join(keys)}", sorted(content))
            for key in sorted(content.keys() - set(keys)):
                raise self.wrong(pointer(at, key), "unknown key", f"one of {', '.join(keys)}", key)
        return content

    def sequence(self, content: Any, at: str) -> list[Any]:
        """A list."""
        if not isinstance(content, list):
            raise self.wrong(at, "not a list", "a list", content)
        return content

    def string(self, content: Any, at: str) -> str:
        """A string that is not empty."""
        if not isinstance(content, str) or not content:
            raise self.wrong(at, "not a string, or empty", "a string", content)
        return content

    def boolean(self, content: Any, at: str) -> bool:
        """True or false."""
        if not isinstance(content, bool):
            raise self.wrong(at, "neither true nor false", "true or false", content)
        return content

    def integer(self, content: Any, at: str) -> int:
        """An integer; true and 1.0 are none."""
        if isinstance(content, bool) or not isinstance(content, int):
            raise self.wrong(at, "not an integer", "an integer", content)
        return content

    def number(self, content: Any, at: str) -> float:
        """A finite number; 1e999 is none."""
        if isinstance(content, bool) or not isinstance(content, int | float):
            raise self.wrong(at, "not a number", "a finite number", content)
        try:
            value = float(content)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.wrong(at, "not a finite number", "a finite number", content)
        return value

    def wrong(self, at: str, message: str, expected: str, got: Any) -> InputError:
        """The error for content at pointer `at`."""
        text = got if isinstance(got, str) else repr(got)
        return self._error(message, where=f"{self._where}:{at or '/'}", expected=expected, got=shorten(text))

    def _once(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice = sorted(shorten(name) for name, count in counts.items() if count > 1)
            more = f" and {len(twice) - MOST_NAMED} more" if len(twice) > MOST_NAMED else ""
            raise self._error(
                "a key stands twice in one object",
                where=self._where,
                expected="each key once",
                got=", ".join(twice[:MOST_NAMED]) + more,
            )
        return content

    def _no_constant(self, name: str) -> float:
        raise self._error("a number is not finite", where=self._where, expected="finite numbers", got=name)


def pointer(at: str, key: str) -> str:
    """The JSON pointer of `key` in the object at `at`."""
    return f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
