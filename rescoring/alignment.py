"""Words side by side: which of a reference's words a hypothesis has right, changed, left out or made up.

The alignments are jiwer's, the ones that WER counts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jiwer

BLOCK = 4096  # segments in one call: jiwer keeps an object for each stretch of an alignment

Kind = Literal["equal", "substitute", "delete", "insert"]


class Edit(NamedTuple):
    """A step of an alignment: a word of the reference, one of the hypothesis, or both."""

    kind: Kind
    reference: str | None
    hypothesis: str | None


Alignment = tuple[Edit, ...]


@dataclass(frozen=True)
class Confusions:
    """The commonest errors with their numbers, most frequent first, of equals by alphabet.

    substitutions  (reference word, hypothesis word), times
    deletions      reference word, times
    insertions     hypothesis word, times
    """

    substitutions: tuple[tuple[tuple[str, str], int], ...]
    deletions: tuple[tuple[str, int], ...]
    insertions: tuple[tuple[str, int], ...]


def align(hypotheses: Sequence[str], references: Sequence[str]) -> list[Alignment]:
    """A shortest alignment of each hypothesis with its reference, as jiwer chooses it."""
    found: list[Alignment] = []
    for start in range(0, len(references), BLOCK):
        output = jiwer.process_words(
            list(references[start : start + BLOCK]), list(hypotheses[start : start + BLOCK])
        )
        found += map(_edits, output.alignments, output.references, output.hypotheses)
    return found


def errors(alignment: Alignment) -> int:
    """How many steps are not right."""
    return sum(edit.kind != "equal" for edit in alignment)


def confusions(alignments: Iterable[Alignment], most: int) -> Confusions:
    """The `most` commonest of each kind of error."""
    edits = [edit for alignment in alignments for edit in alignment if edit.kind != "equal"]
    pairs = Counter(
        (edit.reference, edit.hypothesis)
        for edit in edits
        if edit.reference is not None and edit.hypothesis is not None
    )
    gone = Counter(edit.reference for edit in edits if edit.hypothesis is None and edit.reference is not None)
    made = Counter(
        edit.hypothesis for edit in edits if edit.reference is None and edit.hypothesis is not None
    )
    return Confusions(
        tuple(sorted(pairs.items(), key=lambda one: (-one[1], one[0]))[:most]),
        tuple(sorted(gone.items(), key=lambda one: (-one[1], one[0]))[:most]),
        tuple(sorted(made.items(), key=lambda one: (-one[1], one[0]))[:most]),
    )


def _edits(
    chunks: Iterable[jiwer.AlignmentChunk], reference: Sequence[str], hypothesis: Sequence[str]
) -> Alignment:
    edits: list[Edit] = []
    for chunk in chunks:
        theirs = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        ours = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "delete":
            edits += (Edit("delete", word, None) for word in theirs)
        elif chunk.type == "insert":
            edits += (Edit("insert", None, word) for word in ours)
        else:
            kind: Kind = "equal" if chunk.type == "equal" else "substitute"
            edits += (Edit(kind, *pair) for pair in zip(theirs, ours, strict=True))
    return tuple(edits)
