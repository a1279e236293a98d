"""Segments in groups: by length, by unknown words, or by a label such as speaker or corpus.

Labels come from a file (Kaldi's utt2spk: ``segment label``; or one label a line) or are the beginning of the
segments' ids.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, ReferenceMismatchError, shorten
from nbest.files import read_lines
from rescoring.metrics.base import References
from rescoring.text import words

Ints = NDArray[np.int64]

PREFIX = "prefix:"
LENGTHS = (0, 5, 10, 15, 20, 30, 40)  # upper ends of the bins, in words; the last is open
MOST_OOV = 3  # so many unknown words or more are one group


@dataclass(frozen=True)
class Groups:
    """S segments in G groups.

    name    what they are grouped by
    labels  G labels, in the order in which they are shown; each has a segment
    index   (S,) the group of each segment
    """

    name: str
    labels: tuple[str, ...]
    index: Ints

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Ints:
        """(G,) segments in each group."""
        return np.bincount(self.index, minlength=len(self.labels))

    def sums(self, counts: Ints) -> Ints:
        """(..., G, K) counts (..., S, K) summed over each group: groups in place of segments."""
        by_segment = np.moveaxis(counts, -2, 0)  # (S, ..., K)
        sums = np.zeros((len(self.labels), *by_segment.shape[1:]), dtype=counts.dtype)
        np.add.at(sums, self.index, by_segment)
        return np.moveaxis(sums, 0, -2)


def by_length(references: References) -> Groups:
    """By the words of the segments' first references."""
    lengths = np.array([len(words(several[0])) for several in references], dtype=np.int64)
    ends = np.array(LENGTHS)
    starts = [0, *(end + 1 for end in LENGTHS)]
    names = [f"{start}-{end}" if end else "0" for start, end in zip(starts, LENGTHS, strict=False)]
    return _binned("length", np.searchsorted(ends, lengths), [*names, f"{starts[-1]}+"])


def by_oov(unknown: Sequence[int]) -> Groups:
    """By the number of unknown words (S,) in the references."""
    names = [*(str(number) for number in range(MOST_OOV)), f"{MOST_OOV}+"]
    return _binned("oov", np.minimum(np.array(unknown, dtype=np.int64), MOST_OOV), names)


def by_label(name: str, labels: Sequence[str]) -> Groups:
    """By S labels, in the order in which they come."""
    numbers = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return Groups(name, tuple(numbers), np.array([numbers[label] for label in labels], dtype=np.int64))


def unknown_words(references: References, known: set[str]) -> list[int]:
    """(S,) words of the first references that are not `known`."""
    return [sum(word not in known for word in words(several[0])) for several in references]


def read_words(path: str | os.PathLike[str]) -> set[str]:
    """The words that begin the lines of a word list or Kaldi's words.txt; raises FormatError for none."""
    found = {line.replace("\t", " ").strip(" ").split(" ", 1)[0] for _, line in read_lines(path)} - {""}
    if not found:
        raise FormatError("no word in it", where=os.fspath(path), expected="a word a line")
    return found


def read_labels(source: str, ids: Sequence[str]) -> list[str]:
    """The label of each of S segments, as `source` says.

    ``prefix:_`` is the part of the segment's id before the first ``_``. A file holds ``segment label`` a
    line, for these segments or more, or one label a line in the order of the segments.

    Raises ReferenceMismatchError naming segments without a label, FormatError naming file and line.
    """
    if source.startswith(PREFIX):
        return _prefixes(source.removeprefix(PREFIX), ids)
    rows = [(number, words(line.replace("\t", " "))) for number, line in read_lines(source)]
    widths = {len(row) for _, row in rows}
    if widths == {1}:
        if len(rows) != len(ids):
            raise ReferenceMismatchError(
                "labels and segments differ in number",
                where=source,
                expected=f"{len(ids)} labels, as there are segments, or 'segment label' a line",
                got=f"{len(rows)}",
            )
        return [row[0] for _, row in rows]
    labels: dict[str, str] = {}
    for number, row in rows:
        if len(row) != 2:
            raise FormatError(
                "not a segment and its label",
                where=f"{source}:{number}",
                expected="'segment label'",
                got=shorten(" ".join(row)),
            )
        if labels.setdefault(row[0], row[1]) != row[1]:
            raise FormatError(
                f"two labels for the segment {shorten(row[0])}",
                where=f"{source}:{number}",
                expected="one",
                got=f"{shorten(labels[row[0]])} and {shorten(row[1])}",
            )
    missing = [one for one in ids if one not in labels]
    if missing:
        raise ReferenceMismatchError(
            f"{len(missing)} of {len(ids)} segments have no label",
            where=source,
            expected="a line 'segment label' for each",
            got=f"none for {', '.join(map(shorten, missing[:3]))}{', ...' if len(missing) > 3 else ''}",
        )
    return [labels[one] for one in ids]


def _prefixes(separator: str, ids: Sequence[str]) -> list[str]:
    if not separator:
        raise ConfigError(
            "a prefix ends somewhere", expected="prefix:CHARACTERS, such as prefix:_", got=PREFIX
        )
    without = [one for one in ids if separator not in one]
    if without:
        raise ReferenceMismatchError(
            f"{len(without)} of {len(ids)} segments have no {separator!r} in their id",
            expected="ids of a prefix, the separator and more",
            got=", ".join(map(shorten, without[:3])),
        )
    return [one.partition(separator)[0] for one in ids]


def _binned(name: str, bins: Ints, names: Sequence[str]) -> Groups:
    """The bins that have a segment, in their order."""
    used, index = np.unique(bins, return_inverse=True)
    return Groups(name, tuple(names[one] for one in used), index.astype(np.int64))
