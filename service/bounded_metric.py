"""A metric that can be stopped: counted in slices, so that nobody's texts keep the service busy for hours.

TER takes up to 40 ms a word where everything is shuffled (measured: 18 s for one segment of 400 words).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescoring.metrics import Metric, References, Report

_LEAST, _MOST_SLICES = 64, 16  # segments of a slice, and slices: each looks at all references


class BoundedMetric:
    """As `metric`; `check` is called between slices and raises what ends the work."""

    def __init__(self, metric: Metric, check: Callable[[], None]) -> None:
        self.name = metric.name
        self.count_names = metric.count_names
        self.larger_is_better = metric.larger_is_better
        self.separable = metric.separable
        self._metric = metric
        self._check = check
        self._counted: tuple[tuple[str, ...], NDArray[np.int64]] | None = None

    @property
    def signature(self) -> str:
        """The metric's."""
        return self._metric.signature

    def signature_for(self, references: References) -> str:
        """The metric's."""
        return self._metric.signature_for(references)

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, K) the metric's, slice by slice; those of the last texts are kept."""
        if self._counted is None or self._counted[0] != tuple(texts):
            size = max(_LEAST, -(-len(texts) // _MOST_SLICES))
            parts = []
            for start in range(0, len(texts), size):
                self._check()
                rows = slice(start, start + size)
                parts.append(self._metric.counts(texts[rows], segments[rows], references))
            found = np.concatenate(parts) if parts else self._metric.counts(texts, segments, references)
            self._counted = tuple(texts), found
        return self._counted[1]

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """The metric's."""
        return self._metric.score(sums)

    def report(self, texts: Sequence[str], references: References) -> Report:
        """The metric's, which takes as long as the counts and cannot be stopped: so those are made first."""
        if len(texts) == len(references):
            self.counts(texts, np.arange(len(texts)), references)
        self._check()
        return self._metric.report(texts, references)
