"""Numbers as decoders print them: finite decimals, or an error that names the place."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, NonFiniteFeatureError, shorten

LONGEST = 400  # characters: "%f" of the largest double has 317; longer is no number that a decoder printed
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf(?:inity)?)(?:\([0-9a-z]*\))?", re.IGNORECASE)
_CHARACTERS = b"0123456789+-.eE,"  # the comma joins tokens; within one, `float` refuses it


def is_number(token: str) -> bool:
    """Whether the token is a plain decimal number (Python's ``1_000`` and other digits than 0-9 are not)."""
    return len(token) <= LONGEST and NUMBER.fullmatch(token) is not None


def is_not_finite(token: str) -> bool:
    """Whether the token is a printed NaN or infinity."""
    return len(token) <= LONGEST and NOT_FINITE.fullmatch(token) is not None


def decimal(value: float) -> str:
    """The shortest text that is read as exactly this number; whole numbers without a point."""
    return repr(float(value)).removesuffix(".0")


def finite(token: str, what: str, where: str) -> float:
    """The number; FormatError if it is none, NonFiniteFeatureError if it is NaN, infinite or too large."""
    if is_number(token):
        value = float(token)
        if np.isfinite(value):
            return value
    elif not is_not_finite(token):
        raise FormatError(f"{what} is not a number", where=where, expected="a number", got=shorten(token))
    raise NonFiniteFeatureError(
        f"{what} is not finite", where=where, expected="a finite number", got=shorten(token)
    )


def finite_array(tokens: Sequence[str]) -> NDArray[np.float64] | None:
    """(len(tokens),) numbers parsed at once; None where `finite` would refuse one of them."""
    if max(map(len, tokens), default=0) > LONGEST:
        return None
    try:
        if ",".join(tokens).encode("ascii").translate(None, _CHARACTERS):
            return None
        values = np.fromiter(map(float, tokens), dtype=np.float64, count=len(tokens))
    except ValueError:  # UnicodeEncodeError is one
        return None
    return values if bool(np.isfinite(values).all()) else None
