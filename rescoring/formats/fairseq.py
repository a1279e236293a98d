"""What fairseq-generate prints: ``S- T- H- D- P- A-`` lines with a number, read and written.

    S-0    source
    T-0    reference
    H-0    score TAB tokens            once a hypothesis
    D-0    score TAB detokenised
    P-0    a log-probability a token

Scores have base 2; `score` is that of H (divided by a power of the length) as a natural logarithm, `log_prob`
the sum of P where every hypothesis has one. Batches come in any order: lists are put in the order of their
numbers. Lines of the log between them are left out, and counted.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbest.errors import FormatError, InputError, shorten
from nbest.files import is_text
from rescoring.formats.aside import Aside
from rescoring.formats.base import Lines, Rows, Totals, offsets_of
from rescoring.formats.blocks import OutOfOrderError
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import decimal, finite
from rescoring.formats.totals import SCORE, one_score
from rescoring.nbest import Feature, NbestLists
from rescoring.text import squeeze, words

NAT_PER_BIT = math.log(2.0)
LOG_PROB = "log_prob"
_LINE = re.compile(r"([A-Z])-([0-9]{1,18})(?:\t(.*))?", re.DOTALL)


class FairseqRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    before: tuple[str, ...]  # lines of the whole list, such as S-; of the first hypothesis only
    score: str  # as it stood
    text: str
    after: tuple[str, ...]  # the lines behind: D-, P-, A-


class _List(NamedTuple):
    number: int
    before: list[str]
    references: list[str]
    hypotheses: list[tuple[int, str, str, list[str]]]  # (line, score, text, lines behind)
    faults: list[FormatError]


def begins_fairseq(line: str) -> bool:
    """Whether a file that begins so is fairseq's."""
    found = _LINE.fullmatch(line)
    return found is not None and found[1] in "STHDPAWCIE"


def fairseq_blocks(
    lines: Lines,
    source: str,
    size: int,
    notes: Notes,
    *,
    anyhow: bool = False,
    aside: Aside | None = None,
) -> Iterator[NbestLists]:
    """Blocks of whole lists; raises OutOfOrderError where the numbers do not rise, unless `anyhow`.

    Lists that cannot be read are an error, or go to `aside`.
    """
    block: list[_List] = []
    seen: set[int] = set()
    current: _List | None = None
    last = -1
    for number, line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            notes.add("{n} lines that are no hypothesis are left out", 1 if line.strip(" \t") else 0)
            continue
        which, value = int(found[2]), found[3] or ""
        if current is None or current.number != which:
            if which in seen:
                raise FormatError(f"list {which} comes back later", where=f"{source}:{number}")
            if which < last and not anyhow:
                raise OutOfOrderError(f"list {which} stands after list {last}", where=f"{source}:{number}")
            if sum(len(one.hypotheses) for one in block) >= size:
                yield from _readable(block, source, notes, aside)
                block = []
            seen.add(which)
            last = which
            current = _List(which, [], [], [], [])
            block.append(current)
        _take(current, found[1], value, line, f"{source}:{number}", number)
    if anyhow:
        block.sort(key=lambda one: one.number)
    if block:
        yield from _readable(block, source, notes, aside)


def _readable(block: list[_List], source: str, notes: Notes, aside: Aside | None) -> Iterator[NbestLists]:
    try:
        tried = Notes(source)
        yield from list(_columns(block, source, tried))
        notes.take(tried)
    except InputError:
        if aside is None:
            raise
        good = aside.readable(
            block,
            lambda some: list(_columns(some, source, Notes(source))),
            lambda one: str(one.number),
            source,
        )
        yield from _columns(good, source, notes)


def _take(one: _List, letter: str, value: str, line: str, where: str, number: int) -> None:
    if not is_text(line):
        one.faults.append(FormatError("invalid UTF-8", where=where, expected="UTF-8 text"))
        return
    if letter == "H":
        score, tab, text = value.partition("\t")
        if not tab:
            shape = "'H-number TAB score TAB text'"
            one.faults.append(FormatError("not a hypothesis", where=where, expected=shape, got=shorten(line)))
            return
        one.hypotheses.append((number, score, text, []))
    elif one.hypotheses and letter in "DPAIE":
        one.hypotheses[-1][3].append(line)
    elif letter == "T":
        one.references.append(value)
    else:
        one.before.append(line)


def _columns(block: list[_List], source: str, notes: Notes) -> Iterator[NbestLists]:
    for fault in (fault for one in block for fault in one.faults):
        raise fault
    notes.add("{n} lists without a hypothesis are left out", sum(not one.hypotheses for one in block))
    lists = [one for one in block if one.hypotheses]
    if not lists:
        return
    everything = [one for several in lists for one in several.hypotheses]
    scores = [finite(score, "the score", f"{source}:{line}") for line, score, _, _ in everything]
    sums = [_log_prob(behind, f"{source}:{line}") for line, _, _, behind in everything]
    table = [NAT_PER_BIT * np.array(scores)]
    schema = [Feature(SCORE)]
    if all(total is not None for total in sums):
        table.append(NAT_PER_BIT * np.array(sums, dtype=np.float64))
        schema.append(Feature(LOG_PROB))
    has_references = [bool(one.references) for one in lists]
    if any(has_references) and not all(has_references):
        lacking = lists[has_references.index(False)].number
        raise FormatError(f"list {lacking} has no T- line, and others do", where=source)
    records = [
        FairseqRecord(tuple(one.before) if k == 0 else (), score, text, tuple(behind))
        for one in lists
        for k, (_, score, text, behind) in enumerate(one.hypotheses)
    ]
    yield NbestLists(
        ids=tuple(str(one.number) for one in lists),
        offsets=offsets_of(len(one.hypotheses) for one in lists),
        texts=tuple(squeeze(text) for _, _, text, _ in everything),
        schema=tuple(schema),
        features=np.column_stack(table),  # (N, 1 or 2)
        lines=tuple(line for line, _, _, _ in everything),
        records=tuple(records),
        references=tuple(tuple(map(squeeze, one.references)) for one in lists) if all(has_references) else (),
        source=source,
    )


def _log_prob(behind: list[str], where: str) -> float | None:
    """The sum of a P- line, in base 2."""
    for line in behind:
        if line.startswith("P-"):
            tokens = words(line.partition("\t")[2])
            return math.fsum(finite(token, "a log-probability of P-", where) for token in tokens)
    return None


def fairseq_lines(lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> Iterator[str]:
    """The lines of each list; with `totals` (N,) they are the scores, in base 2, of H- and D-."""
    name, scores = (None, totals) if totals is not None else one_score(lists, "fairseq's output")
    known_names = (
        {SCORE, LOG_PROB} if any(isinstance(r, FairseqRecord) for r in lists.records[:1]) else {name}
    )
    left_out = [feature.name for feature in lists.schema if feature.name not in known_names]
    if totals is not None:
        left_out = [feature.name for feature in lists.schema if feature.name != LOG_PROB]
    if left_out:
        notes.say(f"features without a place are left out: {', '.join(left_out)}")
    for segment, list_id in enumerate(lists.ids):
        rows = order[lists.offsets[segment] : lists.offsets[segment + 1]].tolist()
        if not (list_id.isascii() and list_id.isdigit()):
            raise FormatError(
                "fairseq's output needs integer ids",
                where=lists.where(rows[0]),
                expected="digits (nbest convert --renumber counts the lists from 0)",
                got=shorten(list_id),
            )
        records = [lists.records[row] if lists.records else None for row in rows]
        yield from (line for one in records if isinstance(one, FairseqRecord) for line in one.before)
        for reference in lists.references[segment] if lists.references else ():
            yield f"T-{list_id}\t{reference}"
        for row, record in zip(rows, records, strict=True):
            bits = decimal(float(scores[row]) / NAT_PER_BIT)
            if isinstance(record, FairseqRecord):
                yield f"H-{list_id}\t{record.score if totals is None else bits}\t{record.text}"
                for line in record.after:
                    yield line if totals is None or not line.startswith("D-") else _rescored(line, bits)
                continue
            if "\n" in lists.texts[row]:
                raise FormatError("a text with a line break", where=lists.where(row))
            yield f"H-{list_id}\t{bits}\t{lists.texts[row]}"


def _rescored(line: str, bits: str) -> str:
    label, _, rest = line.partition("\t")
    return f"{label}\t{bits}\t{rest.partition(chr(9))[2]}"
