"""Evaluation of one output: the score by the field's own library, its interval, its counts, its signature."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, ReferenceMismatchError, shorten
from nbest.files import read_lines
from rescoring.formats.references import check_words
from rescoring.groups import Groups
from rescoring.metrics import Metric, References
from rescoring.metrics.base import check_segments
from rescoring.significance import SAMPLES, SEED, Interval, interval

Path = str | os.PathLike[str]
Style = Literal["lines", "kaldi"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """A corpus score and what is to be known about it.

    metric     its name
    score      BLEU 0 to 100 by sacrebleu, WER in percent by jiwer
    interval   bootstrap percentiles of the score
    counts     the summed counts by name
    signature  the library's own
    segments   how many were scored
    clusters   how many groups of segments were resampled whole; None: the segments were
    """

    metric: str
    score: float
    interval: Interval
    counts: Mapping[str, int]
    signature: str
    segments: int
    clusters: int | None = None

    @property
    def signed(self) -> str:
        """The signature of the score and of its interval."""
        units = "" if self.clusters is None else f"|clusters:{self.clusters}"
        return f"{self.signature}|bootstrap:{self.interval.samples}|seed:{self.interval.seed}{units}"

    @property
    def units(self) -> tuple[int, str]:
        """How many of what was resampled."""
        return (self.segments, "segments") if self.clusters is None else (self.clusters, "clusters")

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.interval.low

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.interval.high


@dataclass(frozen=True)
class Pairs:
    """Hypotheses and references that belong together, and how they were told to.

    ids    of the segments: utterances, or the lines' numbers from 0
    style  ``lines``: line by line; ``kaldi``: by the utterance id that begins each line
    """

    ids: tuple[str, ...]

    hypotheses: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    style: Style


def evaluate(
    hypotheses: Sequence[str],
    references: References,
    metric: Metric,
    samples: int = SAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
    clusters: Groups | None = None,
) -> Evaluation:
    """The corpus score of S hypotheses against S segments' references.

    The interval resamples segments, or whole `clusters` (Bisani and Ney 2004: utterances of one speaker are
    not independent). Raises ReferenceMismatchError naming both numbers where they differ, ConfigError for a
    single cluster.
    """
    check_segments(hypotheses, references)
    report = metric.report(hypotheses, references)
    counts = metric.counts(hypotheses, np.arange(len(hypotheses)), references)  # (S, K)
    units = counts if clusters is None else resampled(counts, clusters)
    return Evaluation(
        metric=metric.name,
        score=report.score,
        interval=interval(units, metric, samples, seed, confidence),
        counts=dict(zip(metric.count_names, counts.sum(axis=0).tolist(), strict=True)),
        signature=report.signature,
        segments=len(hypotheses),
        clusters=None if clusters is None else len(clusters),
    )


def resampled(counts: NDArray[np.int64], clusters: Groups) -> NDArray[np.int64]:
    """(..., G, K) the units of a cluster bootstrap of counts (..., S, K); raises ConfigError for only one."""
    if len(clusters) < 2:
        raise ConfigError("nothing to resample", expected="at least 2 clusters", got=str(len(clusters)))
    return clusters.sums(counts)


def read_pairs(hypotheses: Path, references: Path | Sequence[Path], style: Style | None = None) -> Pairs:
    """Hypotheses from one text file, references from one or more: line by line or by utterance id.

    Without a `style` it is ``kaldi`` where every line of every file begins with an id, that is a word with a
    digit, ``-`` or ``_``, no id twice, and all files share at least half of their ids; else ``lines``. Ids in
    some of the files only are logged. Raises ReferenceMismatchError naming the files and both counts, or the
    ids that differ.
    """
    several = [references] if isinstance(references, str | os.PathLike) else list(references)
    if not several:
        raise ReferenceMismatchError("no references", expected="at least one file of references", got="0")
    names = [os.fspath(path) for path in (hypotheses, *several)]
    files = [[line for _, line in read_lines(path)] for path in (hypotheses, *several)]
    if style is None:
        style = _told(names, files)
    ids = [str(number) for number in range(len(files[0]))]
    if style == "kaldi":
        ids, files = _by_utterance(names, files)
    elif style != "lines":
        raise ConfigError("unknown style of text", expected="lines or kaldi", got=repr(style))
    for name, lines in zip(names[1:], files[1:], strict=True):
        check_words(lines, name)
        if len(lines) != len(files[0]):
            raise ReferenceMismatchError(
                "hypotheses and references differ in number",
                where=name,
                expected=f"{len(files[0])} lines, as in {names[0]}",
                got=f"{len(lines)} lines",
            )
    return Pairs(tuple(ids), tuple(files[0]), tuple(zip(*files[1:], strict=True)), style)


def _split(line: str) -> tuple[str, str]:
    """The word that begins the line and the rest; Kaldi separates them by a space or a TAB."""
    first, _, rest = line.strip(" \t").replace("\t", " ", 1).partition(" ")
    return first, rest


def _told(names: Sequence[str], files: Sequence[Sequence[str]]) -> Style:
    """The style of the files; those that lack some utterances are still ``kaldi``, which then says so."""
    keys = [_ids(lines) for lines in files]
    if all(keys):
        smallest = min(map(len, keys))
        return "kaldi" if 2 * len(set.intersection(*keys)) >= smallest else "lines"
    with_ids = [name for name, ids in zip(names, keys, strict=True) if len(ids) > 1]
    if with_ids:
        without = [name for name, ids in zip(names, keys, strict=True) if not ids]
        logger.warning(
            "the lines of %s begin with ids and those of %s do not: all are read as plain text",
            " and ".join(with_ids),
            " and ".join(without),
        )
    return "lines"


def _ids(lines: Sequence[str]) -> set[str]:
    """What the lines begin with, if that can be ids, each once; else nothing."""
    keys = [_split(line)[0] for line in lines]
    looks = all(any(c.isdigit() or c in "-_" for c in key) for key in keys)
    return set(keys) if looks and len(set(keys)) == len(keys) else set()


def _by_utterance(names: Sequence[str], files: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The first file's ids, and the texts of all files in their order."""
    tables: list[dict[str, str]] = []
    for name, lines in zip(names, files, strict=True):
        table: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            key, text = _split(line)
            if not key or key in table:
                problem = f"utterance {shorten(key)} stands there twice" if key else "line without an id"
                raise FormatError(problem, where=f"{name}:{number}", expected="'id words', each id once")
            table[key] = text
        tables.append(table)
    for name, table in zip(names[1:], tables[1:], strict=True):
        missing, extra = sorted(tables[0].keys() - table.keys()), sorted(table.keys() - tables[0].keys())
        if missing or extra:
            raise ReferenceMismatchError(
                f"other utterances: {len(missing)} lack a reference{_such(missing)}, "
                f"{len(extra)} lack a hypothesis{_such(extra)}",
                where=name,
                expected=f"the {len(tables[0])} utterances of {names[0]}",
                got=f"{len(table)} utterances",
            )
    return list(tables[0]), [[table[key] for key in tables[0]] for table in tables]


def _such(keys: Sequence[str]) -> str:
    return f" ({', '.join(map(shorten, keys[:3]))}{', ...' if len(keys) > 3 else ''})" if keys else ""
