"""Counters, gauges and histograms, and their text as Prometheus reads it (exposition format 0.0.4).

Written out because it is this small: a client library would bring state of the whole process, collectors that
nobody asked for and locks. Everything here is touched on the event loop alone.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WORDS = (16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)

Labels = tuple[str, ...]


class Metric(Protocol):
    """What can be written down."""

    name: str
    kind: str
    words: str

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        """(name with its suffix, pairs of label and value, number)."""


class Counter:
    """A sum that grows, for each combination of labels that was ever seen."""

    kind = "counter"

    def __init__(self, name: str, words: str, labels: Labels = ()) -> None:
        self.name, self.words = name, words
        self._labels = labels
        self._sums: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Adds to the sum of these labels."""
        assert len(labels) == len(self._labels)
        self._sums[labels] = self._sums.get(labels, 0.0) + by

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        """One for each combination."""
        for labels, total in self._sums.items():
            yield self.name, list(zip(self._labels, labels, strict=True)), total


class Gauge:
    """What is so now: asked for when it is written down."""

    kind = "gauge"

    def __init__(
        self, name: str, words: str, read: Callable[[], Iterable[tuple[Labels, float]]], labels: Labels = ()
    ) -> None:
        self.name, self.words = name, words
        self._labels = labels
        self._read = read

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        """One for each combination there is now."""
        for labels, number in self._read():
            yield self.name, list(zip(self._labels, labels, strict=True)), number


class Histogram:
    """How many values were at most each bound, for each combination of labels; and their sum."""

    kind = "histogram"

    def __init__(self, name: str, words: str, bounds: Sequence[float], labels: Labels = ()) -> None:
        self.name, self.words = name, words
        self._labels = labels
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Counts `value` under these labels."""
        assert len(labels) == len(self._labels)
        counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        """Cumulative buckets, sum and count of each combination."""
        for labels, counts in self._counts.items():
            pairs = list(zip(self._labels, labels, strict=True))
            total = 0
            for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
                total += count
                yield f"{self.name}_bucket", [*pairs, ("le", _number(bound))], total
            yield f"{self.name}_sum", pairs, self._sums[labels]
            yield f"{self.name}_count", pairs, total


def exposition(metrics: Iterable[Metric]) -> str:
    """All of them as text."""
    lines: list[str] = []
    for metric in metrics:
        words = metric.words.replace("\\", "\\\\").replace("\n", "\\n")
        lines += [f"# HELP {metric.name} {words}", f"# TYPE {metric.name} {metric.kind}"]
        for name, labels, value in metric.samples():
            inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
            lines.append(f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    whole = text.encode(errors="backslashreplace").decode()  # names of files may be no Unicode
    return whole.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
