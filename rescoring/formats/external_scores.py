"""Scores of the hypotheses from elsewhere: a file of numbers, SRILM's score directory, mlm-scoring's JSON.

FILE        one number a line, one line a hypothesis of the source, in its order
DIRECTORY   SRILM's: a file for each utterance, one number a line for each of its hypotheses; in log10
FILE.json   mlm-scoring's and ESPnet's: the same utterances and texts with other scores

A unit may stand before the path, as in ``log10:scores``: nat (of the files, natural logarithms, larger is
better), log10 (of the directories), cost (negated natural logarithms), bytelog.
"""

import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, ReferenceMismatchError, shorten
from nbest.files import STDIO, read_lines
from rescoring.formats.base import Options
from rescoring.formats.checks import look_like_costs
from rescoring.formats.mlm_scoring import mlm_blocks
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import finite, finite_array
from rescoring.formats.rows import hypothesis_rows
from rescoring.formats.srilm_files import ScoreDirectory, is_score_directory
from rescoring.formats.srilm_lines import NAT_PER_BYTELOG, NAT_PER_LOG10
from rescoring.formats.totals import SCORE
from rescoring.nbest import NbestLists
from rescoring.text import words

UNITS = {"nat": 1.0, "log10": NAT_PER_LOG10, "cost": -1.0, "bytelog": NAT_PER_BYTELOG}
_log = logging.getLogger(__name__)


class ExternalScores(Protocol):
    """Scores that are taken block by block, in the order of the source."""

    def take(self, lists: NbestLists) -> NDArray[np.float64]:
        """(N,) the values of the next lists, in natural logarithms."""

    def finish(self) -> None:
        """Raises FormatError where there are more than the lists had a use for."""


def open_scores(name: str, path: str | os.PathLike[str]) -> ExternalScores:
    """The scores at `path`, perhaps with a unit before it; `name` is the feature's.

    Raises ConfigError or NotFoundError; the scores raise FormatError, ReferenceMismatchError or
    NonFiniteFeatureError where they do not fit the lists.
    """
    where = os.fspath(path)
    unit, colon, rest = where.partition(":")
    named = bool(colon) and unit in UNITS and not Path(where).exists()
    place = rest if named else where
    if place != STDIO and Path(place).is_dir():
        if not is_score_directory(Path(place)):
            expected = "a file, or a directory of scores as SRILM has them"
            raise FormatError("is a directory", where=place, expected=expected)
        return _Directory(Path(place), UNITS[unit] if named else NAT_PER_LOG10)
    scale = UNITS[unit] if named else 1.0
    lines = read_lines(place)
    first = list(islice(lines, 1))
    if first and first[0][1].lstrip(" \t").startswith("{"):
        return _Json(place, scale)
    return _Numbers(name, place, scale, first, lines)


def is_by_line(path: str | os.PathLike[str]) -> bool:
    """Whether scores at `path` belong to hypotheses by their place, not by a name."""
    return isinstance(open_scores("", path), _Numbers)


class _Numbers:
    def __init__(
        self,
        name: str,
        path: str,
        scale: float,
        first: list[tuple[int, str]],
        rest: Iterator[tuple[int, str]],
    ) -> None:
        self.name, self.path, self.scale = name, path, scale
        self.lines = (line for part in (first, rest) for line in part)
        self.taken = 0
        self.needed = 0
        self.source = ""

    def take(self, lists: NbestLists) -> NDArray[np.float64]:
        rows = hypothesis_rows(lists)  # (M,)
        tokens = [line.strip(" \t") for _, line in islice(self.lines, len(rows))]
        numbers = finite_array(tokens)
        if numbers is None:
            what = f"the value of {self.name}"
            places = (f"{self.path}:{self.taken + k + 1}" for k in range(len(tokens)))
            numbers = np.array([finite(one, what, at) for one, at in zip(tokens, places, strict=True)])
        self.taken += len(tokens)
        self.needed += len(rows)
        self.source = lists.source
        if len(tokens) != len(rows):
            raise self._wrong(self.taken)
        values = np.zeros(len(lists.texts))  # (N,)
        values[rows[::-1]] = numbers[::-1]
        values = self.scale * values
        lengths = np.array([len(words(text)) for text in lists.texts], dtype=np.float64)
        if self.taken == len(tokens) and look_like_costs(lengths, values):
            _log.warning(
                "%s: the values of %s are positive and grow with the text: costs? "
                "A log-probability is negative",
                self.path,
                self.name,
            )
        return values

    def finish(self) -> None:
        left = sum(1 for _ in self.lines)
        if left:
            raise self._wrong(self.taken + left)

    def _wrong(self, got: int) -> FormatError:
        return FormatError(
            "as many lines as hypotheses are needed",
            where=self.path,
            expected=f"{self.needed} lines, one a hypothesis of {self.source}",
            got=f"{got} lines",
        )


class _Directory:
    def __init__(self, folder: Path, scale: float) -> None:
        self.scores, self.scale = ScoreDirectory(folder), scale

    def take(self, lists: NbestLists) -> NDArray[np.float64]:
        sizes = np.diff(lists.offsets).tolist()
        found = [
            self.scores.read(name, size, self.scale) for name, size in zip(lists.ids, sizes, strict=True)
        ]
        return np.concatenate([np.zeros(0), *found])

    def finish(self) -> None:
        """Files of other utterances do no harm: the lists may be a part of the set."""


class _Json:
    def __init__(self, path: str, scale: float) -> None:
        self.path, self.scale = path, scale
        self.by_utterance: dict[str, tuple[tuple[str, ...], NDArray[np.float64]]] = {}
        for block in mlm_blocks(path, Options(), 20_000, Notes(path)):
            scores = block.feature(SCORE)[:, 0]
            for segment, utterance in enumerate(block.ids):
                rows = block.rows(segment)
                texts = block.texts[rows.start : rows.stop]
                self.by_utterance[utterance] = (texts, scores[rows.start : rows.stop])

    def take(self, lists: NbestLists) -> NDArray[np.float64]:
        found = [np.zeros(0)]
        for segment, utterance in enumerate(lists.ids):
            rows = lists.rows(segment)
            texts, scores = self.by_utterance.get(utterance, ((), np.zeros(0)))
            if texts != lists.texts[rows.start : rows.stop]:
                raise ReferenceMismatchError(
                    f"the hypotheses of {shorten(utterance)} are not those of the lists",
                    where=self.path,
                    expected=f"the {len(rows)} texts of {lists.source}, in their order",
                    got=f"{len(texts)} texts" if len(texts) != len(rows) else "other texts",
                )
            found.append(self.scale * scores)
        return np.concatenate(found)

    def finish(self) -> None:
        """Other utterances do no harm: the lists may be a part of the set."""
