"""Lists of several decoder runs made one: a tuner shall not forget what it saw (Och 2003, section 5)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nbest.errors import FeatureError, FormatError, shorten
from rescoring.nbest import NbestLists


def merged(runs: Sequence[NbestLists]) -> NbestLists:
    """For each segment the hypotheses of all `runs`, the earlier run's first, identical ones once.

    Identical is the same text with the same features. The runs have the same segments, in any order, and the
    same features. Raises FormatError naming a segment that one lacks, FeatureError for other features.
    """
    if not runs:
        raise FormatError("no lists to merge", expected="at least one run", got="0")
    first, *later = runs
    for run in later:
        if run.schema != first.schema:
            raise FeatureError(
                "runs have different features",
                where=run.source,
                expected=", ".join(first.column_names),
                got=", ".join(run.column_names),
            )
        odd = sorted(set(first.ids) ^ set(run.ids))
        if odd:
            raise FormatError(
                f"runs have different segments, such as {shorten(odd[0])}",
                where=run.source,
                expected=f"the {len(first)} segments of {first.source}",
                got=f"{len(run)} segments",
            )
    texts: list[str] = []
    features: list[np.ndarray] = []
    lines: list[int] = []
    offsets = [0]
    places = [{segment: place for place, segment in enumerate(run.ids)} for run in runs]
    for segment in first.ids:
        seen: set[tuple[str, bytes]] = set()
        for run, place in zip(runs, places, strict=True):
            for row in run.rows(place[segment]):
                key = run.texts[row], (run.features[row] + 0.0).tobytes()  # -0.0 becomes 0.0
                if key not in seen:
                    seen.add(key)
                    texts.append(run.texts[row])
                    features.append(run.features[row])
                    lines.append(run.lines[row] if run.lines and run is first else 0)
        offsets.append(len(texts))
    return replace(
        first,
        offsets=np.array(offsets, dtype=np.int64),
        texts=tuple(texts),
        features=np.array(features).reshape(len(texts), first.features.shape[1]),
        lines=tuple(lines),
        records=(),
        source=" + ".join(run.source for run in runs),
    )
