"""Hashes of tuning data: a score on the data that weights were tuned on is not an honest one."""

from collections.abc import Sequence

import numpy as np

from nbest.signature import sha256_hex
from rescoring.metrics.base import References
from rescoring.nbest import NbestLists
from rescoring.weights import WeightSet


def lists_sha256(lists: NbestLists) -> str:
    """Hexadecimal sha256 of the lists' sizes, texts, feature names and values; ids and file do not matter."""
    schema = "\n".join(f"{feature.name}\t{feature.width}" for feature in lists.schema)
    return sha256_hex(
        lists.offsets.astype("<i8").tobytes(),
        _joined(lists.texts),
        _joined((schema,)),
        (np.ascontiguousarray(lists.features, dtype="<f8") + 0.0).tobytes(),  # -0.0 becomes 0.0
    )


def references_sha256(references: References) -> str:
    """Hexadecimal sha256 of all segments' reference texts, in order."""
    return sha256_hex(*(_joined(several) for several in references))


def tuned_on(weights: WeightSet, lists: NbestLists | None, references: References | None) -> bool:
    """Whether the weights were tuned on these lists or against these references."""
    if weights.tuning is None:
        return False
    same_lists = lists is not None and lists_sha256(lists) == weights.tuning.lists_sha256
    return same_lists or (
        references is not None and references_sha256(references) == weights.tuning.references_sha256
    )


def _joined(texts: Sequence[str]) -> bytes:
    """Texts as bytes from which they could be told apart again: number, lengths, contents."""
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    lengths = np.array([len(encoded), *map(len, encoded)], dtype="<i8")
    return lengths.tobytes() + b"".join(encoded)
