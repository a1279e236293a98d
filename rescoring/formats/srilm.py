"""SRILM n-best lists, read: a file for each utterance, in one of three kinds, with score directories.

Features, in natural logarithms: `score` (NBestList1.0); `total`, `ac`, `lm` (NBestList2.0: sums over the
words); `ac`, `lm`, `word_count` (no header); and one for each score directory, by its name. A column `ac` or
`lm` that is 0 everywhere is left out. The texts are without ``-pau-`` and sentence marks.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, InputError, NotFoundError
from nbest.files import read_lines
from rescoring.formats.aside import Aside
from rescoring.formats.base import AnyPath, offsets_of
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import is_number
from rescoring.formats.srilm_files import ScoreDirectory, find_lists, read_scores, utterance_of
from rescoring.formats.srilm_lines import FEATURES, HEADERS, SCORES, kind_of, parse_hypothesis
from rescoring.nbest import Feature, NbestLists


class SrilmRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    line: str
    kind: int
    file: str  # the name of its list's file
    own_features: frozenset[str]  # those in the lines: score directories are written anew


class _List(NamedTuple):
    utterance: str
    file: Path
    kind: int
    lines: list[tuple[int, str]]
    texts: list[str]
    values: NDArray[np.float64]  # (n, F)


def srilm_blocks(path: AnyPath, size: int, notes: Notes, aside: Aside | None = None) -> Iterator[NbestLists]:
    """The lists in the order of their files, `size` hypotheses or a few more a block.

    Files that cannot be read are an error, or go to `aside`. Raises NotFoundError, FormatError or
    FeatureError naming file and line.
    """
    place = Path(path)
    if not place.exists():
        raise NotFoundError("no such file or directory", where=str(path))
    layout = find_lists(place)
    for name in layout.others:
        notes.say(f"the folder {name} holds no scores and is left out")
    directories = [(name, ScoreDirectory(folder)) for name, folder in layout.scores.items()]
    empty = _empty_columns(layout.files) if any(kind == SCORES for kind in _kinds(layout.files[:1])) else ()
    for name in empty:
        notes.say(f"{name} is 0 everywhere and left out")
    block: list[_List] = []
    first: _List | None = None
    seen: dict[str, Path] = {}
    for file in layout.files:
        utterance = utterance_of(file)
        if seen.setdefault(utterance, file) != file:
            raise FormatError(
                f"utterance {utterance} has two lists", where=str(file), got=f"before in {seen[utterance]}"
            )
        try:
            one = _read_list(file, utterance, directories)
            if one is not None and first is not None and one.kind != first.kind:
                raise FormatError(
                    "lists of different kinds",
                    where=str(file),
                    expected=f"the kind of {first.file}",
                    got=f"kind {one.kind}",
                )
        except InputError as error:
            if aside is None:
                raise
            aside.add(utterance, str(file), error)
            continue
        if one is None:
            notes.add("{n} lists without a hypothesis are left out")
            continue
        first = first or one
        block.append(one)
        if sum(len(other.texts) for other in block) >= size:
            yield _columns(block, directories, empty, str(path))
            block = []
    if block:
        yield _columns(block, directories, empty, str(path))


def _kinds(files: Sequence[Path]) -> Iterator[int | None]:
    for file in files:
        yield next((kind_of(line) for _, line in read_lines(file) if line.strip(" \t")), None)


def _empty_columns(files: Sequence[Path]) -> tuple[str, ...]:
    """`ac` and `lm`, where no line of any file has a number that is not 0."""
    zero = {"ac", "lm"}
    for file in files:
        with suppress(FormatError):  # a broken file: whoever reads its list says so
            for _, line in read_lines(file):
                parts = line.replace("\t", " ").split(" ", 2)
                found = zip(("ac", "lm"), parts, strict=False)
                zero -= {name for name, part in found if is_number(part) and float(part) != 0}
        if not zero:
            return ()
    return tuple(sorted(zero))


def _read_list(file: Path, utterance: str, directories: Sequence[tuple[str, ScoreDirectory]]) -> _List | None:
    kind: int | None = None
    lines: list[tuple[int, str]] = []
    texts: list[str] = []
    values: list[tuple[float, ...]] = []
    for number, line in read_lines(file):
        if not line.strip(" \t"):
            continue
        where = f"{file}:{number}"
        if kind is None:
            kind = kind_of(line)
            if kind is None:
                expected = f"{', '.join(HEADERS)}, or 'acoustic language words w w w'"
                raise FormatError("not an n-best list of SRILM", where=where, expected=expected)
            if kind != SCORES:
                continue
        found = parse_hypothesis(line, kind, where)
        lines.append((number, line))
        texts.append(found.text)
        values.append(found.values)
    if kind is None or not lines:
        return None
    table = np.array(values, dtype=np.float64)  # (n, F of the kind)
    scores = read_scores(directories, utterance, len(lines))  # (n, D)
    return _List(utterance, file, kind, lines, texts, np.concatenate([table, scores], axis=1))


def _columns(
    block: Sequence[_List],
    directories: Sequence[tuple[str, ScoreDirectory]],
    empty: Sequence[str],
    source: str,
) -> NbestLists:
    names = [*FEATURES[block[0].kind], *(name for name, _ in directories)]
    features = np.concatenate([one.values for one in block])  # (N, F)
    kept = [k for k, name in enumerate(names) if name not in empty]
    own = frozenset(FEATURES[block[0].kind])
    return NbestLists(
        ids=tuple(one.utterance for one in block),
        offsets=offsets_of(len(one.texts) for one in block),
        texts=tuple(text for one in block for text in one.texts),
        schema=tuple(Feature(names[k]) for k in kept),
        features=features[:, kept],
        records=tuple(
            SrilmRecord(line, one.kind, one.file.name, own) for one in block for _, line in one.lines
        ),
        source=source,
    )
