"""One hypothesis of an SRILM n-best list: three kinds of lines, their units and their fillers.

    NBestList1.0            (bytelog) w w w
    NBestList2.0            (bytelog) w ( st: 0.1 et: 0.2 g: -12 a: -345 ) w ( ... )
    no header               acoustic language words w w w            scores in log10

A bytelog is a natural logarithm times 10000.5 / 1024, an integer (nbest-format(5); SRILM's NBest.cc).
"""

import math
import re
from typing import NamedTuple

import numpy as np

from nbest.errors import FormatError, shorten
from rescoring.formats.numbers import finite, finite_array, is_number
from rescoring.text import words

HEADERS = {"NBestList1.0": 1, "NBestList2.0": 2}
SCORES = 3  # the kind without a header
NAT_PER_LOG10 = math.log(10.0)
NAT_PER_BYTELOG = 1024 / 10000.5
FEATURES = {1: ("score",), 2: ("total", "ac", "lm"), SCORES: ("ac", "lm", "word_count")}
PAUSE = "-pau-"
_NOT_SCORED = frozenset({PAUSE, "<s>", "</s>"})
_WORD_FIELDS = 11  # word ( st: a et: b g: c a: d )
_LABELS = ((1, "("), (2, "st:"), (4, "et:"), (6, "g:"), (8, "a:"), (10, ")"))
_STATE = re.compile(r".*-[0-9]")  # of an HMM: no word, whatever its times say


class Hypothesis(NamedTuple):
    """The words that are scored, and the values of FEATURES of its kind (natural logarithms)."""

    text: str
    values: tuple[float, ...]


def kind_of(line: str) -> int | None:
    """The kind that a list with this first line is of; None for what is no n-best list."""
    if line.strip(" \t") in HEADERS:
        return HEADERS[line.strip(" \t")]
    parts = words(line.replace("\t", " "))
    is_scores = len(parts) >= 3 and is_number(parts[0]) and is_number(parts[1]) and parts[2].isdigit()
    return SCORES if is_scores else None


def parse_hypothesis(line: str, kind: int, where: str) -> Hypothesis:
    """One line; raises FormatError or NonFiniteFeatureError at `where`."""
    parts = words(line.replace("\t", " "))
    if kind == SCORES:
        return _scores(parts, where)
    if not parts or not (parts[0].startswith("(") and parts[0].endswith(")")):
        raise FormatError(
            "no score in parentheses", where=where, expected="'(bytelog) word ...'", got=shorten(line)
        )
    total = NAT_PER_BYTELOG * finite(parts[0][1:-1], "the score", where)
    if kind == 1:
        return Hypothesis(_text(parts[1:]), (total,))
    if (len(parts) - 1) % _WORD_FIELDS:
        raise FormatError(
            "words and their times do not fit",
            where=where,
            expected="'word ( st: time et: time g: bytelog a: bytelog )' for each word",
            got=f"{len(parts) - 1} fields",
        )
    found, acoustic, language = _timed(parts[1:], where)
    return Hypothesis(_text(found), (total, NAT_PER_BYTELOG * acoustic, NAT_PER_BYTELOG * language))


def _scores(parts: list[str], where: str) -> Hypothesis:
    if len(parts) < 3 or not (parts[2].isascii() and parts[2].isdigit()):
        raise FormatError(
            "not a line of scores",
            where=where,
            expected="'acoustic language words w w w'",
            got=shorten(" ".join(parts)),
        )
    acoustic, language = (finite(token, "a score", where) for token in parts[:2])
    values = (NAT_PER_LOG10 * acoustic, NAT_PER_LOG10 * language, float(parts[2]))
    return Hypothesis(_text(parts[3:]), values)


def _timed(parts: list[str], where: str) -> tuple[list[str], float, float]:
    """The words, and the sums of their acoustic and language scores.

    A token within the time of the word before it is a phone of that word.
    """
    if any(set(parts[k::_WORD_FIELDS]) != {label} for k, label in _LABELS if parts):
        raise FormatError(
            "not a word with its times and scores",
            where=where,
            expected="'word ( st: time et: time g: bytelog a: bytelog )'",
            got=shorten(" ".join(_first_wrong(parts))),
        )
    numbers = [parts[k::_WORD_FIELDS] for k in (3, 5, 7, 9)]
    flat = [token for column in numbers for token in column]
    values = finite_array(flat)
    if values is None:
        values = np.array([finite(token, "a time or score of a word", where) for token in flat])
    starts, stops, language, acoustic = values.reshape(4, -1)
    end = -1.0
    chosen: list[int] = []
    for k, (word, start, stop) in enumerate(
        zip(parts[::_WORD_FIELDS], starts.tolist(), stops.tolist(), strict=True)
    ):
        if start > end and not _STATE.fullmatch(word):
            chosen.append(k)
            end = stop
    found = [parts[_WORD_FIELDS * k] for k in chosen]
    return found, float(acoustic[chosen].sum()), float(language[chosen].sum())


def _first_wrong(parts: list[str]) -> list[str]:
    words_of = (parts[at : at + _WORD_FIELDS] for at in range(0, len(parts), _WORD_FIELDS))
    return next(fields for fields in words_of if any(fields[k] != label for k, label in _LABELS))


def _text(found: list[str]) -> str:
    return " ".join(word for word in found if word not in _NOT_SCORED)


def with_total(line: str, kind: int, total: float) -> str:
    """The line with another score in front, where its kind has one; a bytelog is a whole number."""
    if kind == SCORES:
        return line
    _, _, rest = line.strip(" ").partition(" ")
    return f"({round(total / NAT_PER_BYTELOG)}) {rest}".rstrip(" ")
