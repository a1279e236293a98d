"""N-best lists as columns: segment ids, offsets, texts and one feature matrix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, NonFiniteFeatureError, shorten


@dataclass(frozen=True)
class Feature:
    """A named feature; `width` columns of the matrix (Moses' vectors have more than one).

    sparse  absent on some hypotheses, and 0 there: it may be absent everywhere in other lists
    """

    name: str
    width: int = 1
    sparse: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class NbestLists:
    """S lists with N hypotheses in all.

    ids         S segment or utterance ids, each once
    offsets     (S+1,) int64; hypotheses of list s are offsets[s]:offsets[s+1]
    texts       N hypothesis texts as they will be scored
    schema      the features, in column order; the widths sum to F
    features    (N, F) float64, finite; signs and bases as inside the product (larger is better, natural log)
    lines       N line numbers in the source (0 where there is none), for error messages
    records     N format-private records that let a writer give back what a reader took in; or empty
    references  S tuples of reference texts; or empty where the source carries none
    source      the file's name, for error messages
    """

    ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    texts: tuple[str, ...]
    schema: tuple[Feature, ...]
    features: NDArray[np.float64]
    lines: tuple[int, ...] = ()
    records: tuple[object, ...] = ()
    references: tuple[tuple[str, ...], ...] = ()
    source: str = "<memory>"

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.schema]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise FeatureError(f"duplicate feature name {twice}", where=self.source)
        for name in names:
            if name.encode(errors="ignore").decode() != name:
                raise FeatureError("feature name is not UTF-8", where=self.source, got=shorten(name))
        width = sum(feature.width for feature in self.schema)
        shape = (len(self.texts), width)
        if self.features.shape != shape:
            raise FormatError(
                "feature matrix does not fit", expected=f"shape {shape}", got=f"{self.features.shape}"
            )
        if len(self.offsets) != len(self.ids) + 1 or int(self.offsets[-1]) != len(self.texts):
            raise FormatError(
                "offsets do not fit",
                expected=f"{len(self.ids) + 1} offsets up to {len(self.texts)}",
                got=f"{len(self.offsets)} up to {int(self.offsets[-1])}",
            )
        bad = np.argwhere(~np.isfinite(self.features))
        if len(bad):
            row, column = (int(x) for x in bad[0])
            raise NonFiniteFeatureError(
                f"feature {self.column_names[column]} is not finite",
                where=self.where(row),
                expected="a finite number",
                got=str(self.features[row, column]),
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def column_names(self) -> tuple[str, ...]:
        """F names: ``name`` for a feature of width one, else ``name[0]``, ``name[1]``, ..."""
        return tuple(
            feature.name if feature.width == 1 else f"{feature.name}[{k}]"
            for feature in self.schema
            for k in range(feature.width)
        )

    @property
    def segments(self) -> NDArray[np.int64]:
        """(N,) index of each hypothesis' list."""
        return np.repeat(np.arange(len(self.ids), dtype=np.int64), np.diff(self.offsets))

    def where(self, row: int) -> str:
        """``file:line`` of hypothesis `row`."""
        return f"{self.source}:{self.lines[row]}" if self.lines else f"{self.source}, hypothesis {row}"

    def columns(self, name: str) -> slice:
        """The matrix columns of feature `name`; raises FeatureError naming those that exist."""
        start = 0
        for feature in self.schema:
            if feature.name == name:
                return slice(start, start + feature.width)
            start += feature.width
        known = ", ".join(feature.name for feature in self.schema) or "none"
        raise FeatureError(f"unknown feature {name!r}", where=self.source, expected=f"one of {known}")

    def feature(self, name: str) -> NDArray[np.float64]:
        """(N, width) values of one feature."""
        return self.features[:, self.columns(name)]

    def with_feature(self, name: str, values: NDArray[np.float64]) -> "NbestLists":
        """These lists with one more feature; `values` is (N,) or (N, width)."""
        block = np.asarray(values, dtype=np.float64).reshape(len(self.texts), -1)
        return replace(
            self,
            schema=(*self.schema, Feature(name, block.shape[1])),
            features=np.concatenate([self.features, block], axis=1),
        )

    def select(self, segments: Sequence[int]) -> "NbestLists":
        """The lists with these indices, in this order."""
        rows = np.concatenate(
            [np.arange(self.offsets[s], self.offsets[s + 1], dtype=np.int64) for s in segments]
            or [np.zeros(0, dtype=np.int64)]
        )
        counts = [int(self.offsets[s + 1] - self.offsets[s]) for s in segments]
        return replace(
            self,
            ids=tuple(self.ids[s] for s in segments),
            offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
            texts=tuple(self.texts[r] for r in rows),
            features=self.features[rows],
            lines=tuple(self.lines[r] for r in rows) if self.lines else (),
            records=tuple(self.records[r] for r in rows) if self.records else (),
            references=tuple(self.references[s] for s in segments) if self.references else (),
        )

    def rows(self, segment: int) -> range:
        """Row numbers of one list's hypotheses."""
        return range(int(self.offsets[segment]), int(self.offsets[segment + 1]))

    def __iter__(self) -> Iterator[range]:
        """Row numbers, list by list."""
        return (self.rows(segment) for segment in range(len(self.ids)))
