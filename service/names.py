"""Names of models and weight sets: what may be one, and how one that is not there is told."""

import re
from collections.abc import Sequence
from itertools import islice

from nbest.errors import NotFoundError, shorten

# What can be a feature's name, stand in a signature, and be a file's name beside its ending and version.
NAME = re.compile(r"(?!\.)[^\s|=:/\x00-\x1f\x7f]+")
_MOST_BYTES = 200  # file systems take 255
_MOST_TOLD = 20  # names in an error message


def is_name(name: str) -> bool:
    """Whether a file may be looked for under this name: one of its directory, whatever was asked."""
    try:
        return NAME.fullmatch(name) is not None and len(name.encode()) <= _MOST_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def unknown(what: str, name: str, known: Sequence[str]) -> NotFoundError:
    """The error for a `what` that is not there, naming some of those that are."""
    names = ", ".join(islice(known, _MOST_TOLD))
    more = f" and {len(known) - _MOST_TOLD} more" if len(known) > _MOST_TOLD else ""
    expected = f"one of {names}{more}" if names else f"no {what}: the service has none"
    return NotFoundError(f"no such {what}", expected=expected, got=shorten(name))
