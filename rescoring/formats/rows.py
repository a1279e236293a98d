"""Which row of the lists each line of their source became."""

import numpy as np
from numpy.typing import NDArray

from rescoring.formats.kaldi import KaldiRecord
from rescoring.formats.moses import MosesRecord
from rescoring.nbest import NbestLists


def hypothesis_rows(lists: NbestLists) -> NDArray[np.int64]:
    """(M,) the row of each hypothesis of the source, in the source's order.

    M is above N where identical lines were left out; the order differs from the rows' where ids came back.
    """
    places: list[tuple[int, int, int]] = []  # (archive, line, row)
    for row in range(len(lists.texts)):
        record = lists.records[row] if lists.records else None
        if isinstance(record, KaldiRecord):
            places.append((record.archive, record.position, row))
            continue
        places.append((0, lists.lines[row] if lists.lines else row, row))
        if isinstance(record, MosesRecord):
            places += [(0, line, row) for line in record.repeats]
    return np.array([row for _, _, row in sorted(places)], dtype=np.int64)
