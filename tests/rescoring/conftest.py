"""Real lists with their references, and small ones made up."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rescoring.formats import read_nbest
from rescoring.formats.references import read_references
from rescoring.nbest import Feature, NbestLists


@dataclass(frozen=True)
class Real:
    """Lists and the references of their segments."""

    lists: NbestLists
    references: tuple[tuple[str, ...], ...]

    @property
    def first(self) -> list[str]:
        """The decoder's own choice in each list."""
        return [self.lists.texts[row] for row in self.lists.offsets[:-1]]


@pytest.fixture(scope="session")
def mt_dev(shared: Path) -> Real:
    lists = read_nbest(shared / "data/mt/dev.distinct.nbest.gz")
    return Real(lists, read_references(shared / "data/mt/dev.ref.en", lists))


@pytest.fixture(scope="session")
def asr_dev(shared: Path) -> Real:
    """Features ac, lmonly (n-gram model of the decoder), nolm (penalties), rnn (a second n-gram model)."""
    lists = read_nbest(shared / "data/asr/dev/kaldi_nbest")
    return Real(lists, read_references(shared / "data/asr/dev/text", lists))


@pytest.fixture(scope="session")
def make_lists() -> object:
    """Lists from texts and features: ``make_lists([["a", "b"], ["c"]], [[1.0], [2.0], [3.0]])``."""

    def make(
        texts: Sequence[Sequence[str]], features: object, names: Sequence[str] | None = None
    ) -> NbestLists:
        matrix = np.asarray(features, dtype=np.float64)
        schema = tuple(map(Feature, names or [f"f{k}" for k in range(matrix.shape[1])]))
        return NbestLists(
            ids=tuple(map(str, range(len(texts)))),
            offsets=np.concatenate([[0], np.cumsum([len(one) for one in texts], dtype=np.int64)]).astype(
                np.int64
            ),
            texts=tuple(text for one in texts for text in one),
            schema=schema,
            features=matrix,
        )

    return make
