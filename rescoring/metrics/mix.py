"""A weighted sum of metrics as a metric: ``bleu-0.5*ter``.

Larger is better, so error rates go in with a minus. The metrics' counts stand side by side, and each metric
scores its own.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, shorten
from rescoring.metrics.base import Metric, References, Report

_TERM = re.compile(r"([+-]?)(?:(\d+(?:\.\d*)?|\.\d+)\*)?([a-z]+)")  # sign, number*, name


class Mix:
    """The sum of metrics times their weights; of two or more, each once.

    Raises ConfigError for a weight whose sign would make a worse score of any of them a better sum.
    """

    larger_is_better = True
    separable = False

    def __init__(self, terms: Sequence[tuple[float, Metric]]) -> None:
        self._terms = tuple(terms)
        names = [metric.name for _, metric in terms]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError("not a mix", expected="two or more metrics, each once", got=", ".join(names))
        for weight, metric in terms:
            if weight == 0 or (weight > 0) != metric.larger_is_better:
                raise ConfigError(
                    f"the weight of {metric.name} has the wrong sign",
                    expected=f"{'more' if metric.larger_is_better else 'less'} than 0",
                    got=f"{weight:g}",
                )
        self.name = "".join(_written(weight, metric.name) for weight, metric in terms).removeprefix("+")
        self.count_names = tuple(
            f"{metric.name}.{count}" for _, metric in terms for count in metric.count_names
        )

    @property
    def signature(self) -> str:
        """The metrics' signatures, one after the other."""
        return "|".join(f"{metric.name}:[{metric.signature}]" for _, metric in self._terms)

    def signature_for(self, references: References) -> str:
        """As `signature`, each for these references."""
        return "|".join(f"{one.name}:[{one.signature_for(references)}]" for _, one in self._terms)

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, K) all metrics' counts side by side."""
        return np.concatenate(
            [metric.counts(texts, segments, references) for _, metric in self._terms], axis=1
        )

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """Weighted sum (...) of the metrics' scores of sums (..., K)."""
        sums = np.asarray(sums)
        total, start = np.zeros(sums.shape[:-1]), 0
        for weight, metric in self._terms:
            end = start + len(metric.count_names)
            total = total + weight * metric.score(sums[..., start:end])
            start = end
        return np.asarray(total)

    def report(self, texts: Sequence[str], references: References) -> Report:
        """Weighted sum of the reference implementations' scores, with all their signatures."""
        reports = [(weight, one.name, one.report(texts, references)) for weight, one in self._terms]
        signature = "|".join(f"{name}:[{report.signature}]" for _, name, report in reports)
        return Report(sum(weight * report.score for weight, _, report in reports), signature)


def parse_mix(text: str) -> list[tuple[float, str]]:
    """``bleu-0.5*ter`` as [(1.0, "bleu"), (-0.5, "ter")]; raises ConfigError for anything else."""
    terms: list[tuple[float, str]] = []
    place = 0
    while found := _TERM.match(text, place):
        if terms and not found[1]:
            break
        terms.append(((-1.0 if found[1] == "-" else 1.0) * float(found[2] or 1.0), found[3]))
        place = found.end()
    if place < len(text) or not terms:
        raise ConfigError("not a sum of metrics", expected="such as bleu-0.5*ter", got=shorten(text))
    return terms


def _written(weight: float, name: str) -> str:
    size = "" if abs(weight) == 1.0 else f"{abs(weight):g}*"
    return f"{'-' if weight < 0 else '+'}{size}{name}"
