"""NeMo's beams: ``text TAB score`` a line, without ids; so many lines a list as the beam is wide.

That is what eval_beamsearch_ngram.py writes and eval_neural_rescorer.py reads. Nothing in the file says where
a list ends: the beam size has to be given. Lists are numbered from 0; `score` is a natural logarithm.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbest.errors import ConfigError, FormatError, shorten
from rescoring.formats.base import Lines, Rows, Totals, offsets_of
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import decimal, finite, is_not_finite, is_number
from rescoring.formats.totals import SCORE, one_score
from rescoring.nbest import Feature, NbestLists
from rescoring.text import squeeze


class NemoRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    text: str
    score: str  # as they stood


def begins_nemo(line: str) -> bool:
    """Whether this can be the first line: one TAB, and a number behind it."""
    _, tab, score = line.rpartition("\t")
    return bool(tab) and line.count("\t") == 1 and (is_number(score) or is_not_finite(score))


def nemo_blocks(
    lines: Lines, source: str, beam_size: int | None, size: int, _notes: Notes
) -> Iterator[NbestLists]:
    """Blocks of whole lists; raises ConfigError without a beam size, FormatError where it does not divide."""
    if beam_size is None:
        raise ConfigError(
            "NeMo's file does not say where a list ends",
            where=source,
            expected="the number of hypotheses a list: --beam-size",
        )
    if beam_size < 1:
        raise ConfigError("not a beam size", expected="1 or more", got=str(beam_size))
    wanted = beam_size * max(1, -(-size // beam_size))
    block: list[tuple[int, str, str]] = []
    first = 0
    last = 0
    for number, line in lines:
        last = number
        if not line:
            raise FormatError("an empty line", where=f"{source}:{number}", expected="'text TAB score'")
        text, tab, score = line.rpartition("\t")
        if not tab:
            raise FormatError(
                "no TAB in the line",
                where=f"{source}:{number}",
                expected="'text TAB score'",
                got=shorten(line),
            )
        block.append((number, text, score))
        if len(block) == wanted:
            yield _lists(block, beam_size, first, source)
            first += len(block) // beam_size
            block = []
    if len(block) % beam_size:
        raise FormatError(
            "the beam size does not divide the lines",
            where=source,
            expected=f"a multiple of {beam_size}",
            got=f"{last} lines",
        )
    if block:
        yield _lists(block, beam_size, first, source)


def _lists(block: list[tuple[int, str, str]], beam_size: int, first: int, source: str) -> NbestLists:
    count = len(block) // beam_size
    scores = [finite(score, "the score", f"{source}:{number}") for number, _, score in block]
    return NbestLists(
        ids=tuple(str(first + k) for k in range(count)),
        offsets=offsets_of([beam_size] * count),
        texts=tuple(squeeze(text) for _, text, _ in block),
        schema=(Feature(SCORE),),
        features=np.array(scores).reshape(-1, 1),  # (N, 1)
        lines=tuple(number for number, _, _ in block),
        records=tuple(NemoRecord(text, score) for _, text, score in block),
        source=source,
    )


class NemoLines:
    """Writes lists of one size, numbered from 0: what else there is has no place, and is noted."""

    def __init__(self, next_id: int = 0) -> None:
        self.next_id = next_id
        self.beam_size: int | None = None

    def __call__(self, lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> Iterator[str]:
        """The lines; raises FormatError for lists of different sizes, and for ids that a count is not."""
        name, scores = (None, totals) if totals is not None else one_score(lists, "NeMo's file")
        left_out = [feature.name for feature in lists.schema if feature.name != name]
        if left_out:
            notes.say(f"features without a place are left out: {', '.join(left_out)}")
        if lists.references:
            notes.say("references have no place and are left out")
        for segment, list_id in enumerate(lists.ids):
            rows = order[lists.offsets[segment] : lists.offsets[segment + 1]].tolist()
            self._check(list_id, len(rows), lists.source)
            for row in rows:
                record = lists.records[row] if lists.records else None
                kept = isinstance(record, NemoRecord) and totals is None
                text = record.text if isinstance(record, NemoRecord) else lists.texts[row]
                if "\t" in text or "\n" in text:
                    raise FormatError(
                        "NeMo's file cannot hold this text",
                        where=lists.where(row),
                        expected="no TAB and no line break",
                        got=shorten(text),
                    )
                score = (
                    record.score if kept and isinstance(record, NemoRecord) else decimal(float(scores[row]))
                )
                yield f"{text}\t{score}"

    def _check(self, list_id: str, count: int, source: str) -> None:
        if list_id != str(self.next_id):
            raise FormatError(
                "NeMo's file has no place for ids",
                where=source,
                expected=f"list {self.next_id}, counting from 0 (nbest convert --renumber counts)",
                got=shorten(list_id),
            )
        if self.beam_size not in (None, count):
            raise FormatError(
                "NeMo's file cannot tell lists of different sizes apart",
                where=f"{source}, list {list_id}",
                expected=f"{self.beam_size} hypotheses, as in the lists before",
                got=str(count),
            )
        self.next_id, self.beam_size = self.next_id + 1, count
