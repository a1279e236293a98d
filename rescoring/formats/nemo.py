"""NeMo's beams: ``text TAB score`` a line, without ids; so many lines a list as the beam is wide.

That is what eval_beamsearch_ngram.py writes and eval_neural_rescorer.py reads. Nothing in the file says where
a list ends: the beam size has to be given, or, where a beam search found less for some utterances, the size
of each list. Lists are numbered from 0; `score` is a natural logarithm.
"""

from collections.abc import Iterator
from itertools import islice, repeat
from typing import NamedTuple

import numpy as np

from nbest.errors import ConfigError, FormatError, InputError, shorten
from nbest.files import is_text
from rescoring.formats.aside import Aside
from rescoring.formats.base import BeamSize, Lines, Rows, Totals, offsets_of, own_records
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
    lines: Lines,
    source: str,
    beam_size: BeamSize | None,
    size: int,
    notes: Notes,
    aside: Aside | None = None,
) -> Iterator[NbestLists]:
    """Blocks of whole lists; raises ConfigError without a beam size, FormatError where it does not fit.

    A broken line still is a line of its list, which goes to `aside`, if that is there.
    """
    if beam_size is None:
        raise ConfigError(
            "NeMo's file does not say where a list ends",
            where=source,
            expected="the number of hypotheses a list: --beam-size",
        )
    sizes = (beam_size,) if isinstance(beam_size, int) else beam_size
    if min(sizes, default=0) < (1 if isinstance(beam_size, int) else 0):
        raise ConfigError("not a beam size", expected="1 or more", got=str(min(sizes, default="none")))
    block: list[_List] = []
    rows = 0
    for one in _cut(lines, source, beam_size):
        if not one.lines:
            notes.add("{n} lists without a hypothesis are left out")
            continue
        block.append(one)
        rows += len(one.lines)
        if rows >= size:
            yield from _readable(block, source, aside)
            block, rows = [], 0
    yield from _readable(block, source, aside)


class _List(NamedTuple):
    id: str
    lines: list[tuple[int, str]]


def _cut(lines: Lines, source: str, beam_size: BeamSize) -> Iterator[_List]:
    """The numbered lines of each list; raises FormatError where there are more or less."""
    numbered = iter(lines)
    count = 0
    for number, size in enumerate(repeat(beam_size) if isinstance(beam_size, int) else beam_size):
        found = list(islice(numbered, size))
        count += len(found)
        if isinstance(beam_size, int) and not found:
            return
        if len(found) < size:
            raise _unfit(source, beam_size, count)
        yield _List(str(number), found)
    left = sum(1 for _ in numbered)
    if left:
        raise _unfit(source, beam_size, count + left)


def _unfit(source: str, beam_size: BeamSize, count: int) -> FormatError:
    if isinstance(beam_size, int):
        what, expected = "the beam size does not divide the lines", f"a multiple of {beam_size}"
    else:
        what, expected = "the sizes of the lists are not those of the lines", f"{sum(beam_size)} lines"
    return FormatError(what, where=source, expected=expected, got=f"{count} lines")


def _readable(block: list[_List], source: str, aside: Aside | None) -> Iterator[NbestLists]:
    if not block:
        return
    try:
        yield _lists(block, source)
    except InputError:
        if aside is None:
            raise
        good = aside.readable(block, lambda some: _lists(some, source), lambda one: one.id, source)
        if good:
            yield _lists(good, source)


def _lists(block: list[_List], source: str) -> NbestLists:
    numbers, texts, scores = [], [], []
    for number, line in (numbered for one in block for numbered in one.lines):
        where = f"{source}:{number}"
        if not line:
            raise FormatError("an empty line", where=where, expected="'text TAB score'")
        if not is_text(line):
            raise FormatError("invalid UTF-8", where=where, expected="UTF-8 text")
        text, tab, score = line.rpartition("\t")
        if not tab:
            raise FormatError(
                "no TAB in the line", where=where, expected="'text TAB score'", got=shorten(line)
            )
        finite(score, "the score", where)
        numbers.append(number)
        texts.append(text)
        scores.append(score)
    return NbestLists(
        ids=tuple(one.id for one in block),
        offsets=offsets_of(len(one.lines) for one in block),
        texts=tuple(map(squeeze, texts)),
        schema=(Feature(SCORE),),
        features=np.array([float(score) for score in scores]).reshape(-1, 1),  # (N, 1)
        lines=tuple(numbers),
        records=tuple(map(NemoRecord, texts, scores)),
        source=source,
    )


class NemoLines:
    """Writes lists of NeMo's as they are, others of one size, numbered from 0; other features are noted."""

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
        own = own_records(lists, NemoRecord)  # they are in step with whoever knows their sizes
        for segment, list_id in enumerate(lists.ids):
            rows = order[lists.offsets[segment] : lists.offsets[segment + 1]].tolist()
            if not own:
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
