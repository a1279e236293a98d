"""If-Match and If-None-Match (RFC 9110, 13.1): what the caller has seen is changed, or nothing."""

import re
from dataclasses import dataclass

from nbest.errors import shorten
from service.errors import InvalidRequestError, PreconditionFailedError, PreconditionMissingError

_MOST_CHARACTERS = 4096  # some fifty tags; a caller has seen one
_TAG = re.compile(r'[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')


@dataclass(frozen=True)
class Conditions:
    """Entity tags that a request names; None: the header is not there, ("*",): any.

    match       of If-Match: strong tags alone, for a weak one never matches there
    none_match  of If-None-Match: what stands between the quotes, weak or strong
    """

    match: tuple[str, ...] | None = None
    none_match: tuple[str, ...] | None = None

    def check_write(self, current: str | None) -> None:
        """Raises unless what has the tag `current`, or is not there (None), may be changed so.

        What is there is changed only by a request that says which: PreconditionMissingError, else
        PreconditionFailedError.
        """
        if self.match is not None and not _names(self.match, current):
            raise PreconditionFailedError(
                "not what If-Match names",
                where="If-Match",
                expected=" or ".join(self.match),
                got=_told(current),
            )
        if self.none_match is not None and _names(self.none_match, current):
            raise PreconditionFailedError(
                "what If-None-Match names is there already", where="If-None-Match", got=_told(current)
            )
        if current is not None and self.match is None:
            raise PreconditionMissingError(
                "it is there already",
                where="If-Match",
                expected=f"If-Match: {current}, or If-Match: *",
                got="none",
            )

    def unchanged(self, current: str) -> bool:
        """Whether a reader has `current` already: 304."""
        return self.none_match is not None and _names(self.none_match, current)


def parse_conditions(match: list[str], none_match: list[str]) -> Conditions:
    """The headers' values, several of one name as one list; raises InvalidRequestError."""
    strong = _tags("If-Match", match, weak=False) if match else None
    return Conditions(strong, _tags("If-None-Match", none_match, weak=True) if none_match else None)


def _tags(header: str, values: list[str], *, weak: bool) -> tuple[str, ...]:
    text = ", ".join(values).strip(" \t")
    if text == "*":
        return ("*",)
    tags: list[str] = []
    place = 0
    while len(text) <= _MOST_CHARACTERS and place < len(text):
        found = _TAG.match(text, place)
        if found is None:
            break
        if weak or not found[1]:
            tags.append(found[2])
        place = found.end()
    if not text or place < len(text):
        expected = f'"TAG" or *, at most {_MOST_CHARACTERS} characters'
        raise InvalidRequestError(
            "not a list of entity tags", where=header, expected=expected, got=shorten(text)
        )
    return tuple(tags)


def _names(tags: tuple[str, ...], current: str | None) -> bool:
    return current is not None and (tags == ("*",) or current in tags)


def _told(current: str | None) -> str:
    return current or "nothing of that name"
