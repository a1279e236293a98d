"""A file of any size in bounded memory: blocks of whole lists, all with the features of the whole file.

A file of more than one block is read twice: first to learn its features and to find what is wrong with it
before any work is done, then block by block. Standard input goes to a temporary file for that. A file whose
ids come back after their list was over cannot be cut; it is read whole, and a warning says so.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, LimitError
from nbest.files import STDIO, open_bytes
from rescoring.formats.aside import Aside, Failure
from rescoring.formats.base import Format, Lines, Options, with_record
from rescoring.formats.columns import MAX_SPARSE
from rescoring.formats.notes import Notes
from rescoring.nbest import Feature, NbestLists

BLOCK_HYPOTHESES = 20_000
_log = logging.getLogger(__name__)


class OutOfOrderError(FormatError):
    """An id comes back after its list was over."""


@dataclass(frozen=True)
class Blocks:
    """Lists of one format, block by block; each iteration reads them anew.

    ids         of all lists
    schema      the features of the whole file, that each block has
    count       how many blocks there are, with so many `hypotheses`
    failures    lists that were set aside, where that was asked for
    """

    format: Format
    source: str
    ids: tuple[str, ...]
    schema: tuple[Feature, ...]
    read: Callable[[], Iterator[NbestLists]]
    count: int
    hypotheses: int
    failures: tuple[Failure, ...] = ()

    def __iter__(self) -> Iterator[NbestLists]:
        return self.read()


def grouped(
    lines: Lines, source: str, size: int, id_of: Callable[[str], str]
) -> Iterator[list[tuple[int, str]]]:
    """The numbered lines cut where the id changes, `size` or more a block; blank lines go along.

    Raises OutOfOrderError for an id that stood in an earlier block.
    """
    block: list[tuple[int, str]] = []
    over: set[str] = set()  # ids of earlier blocks
    here: dict[str, None] = {}
    current: str | None = None
    for number, line in lines:
        if line.strip(" \t"):
            name = id_of(line)
            if name != current:
                if len(block) >= size:
                    yield block
                    over.update(here)
                    block, here = [], {}
                if name in over:
                    raise OutOfOrderError(
                        f"id {name} comes back after its list was over", where=f"{source}:{number}"
                    )
                current = name
                here[name] = None
        block.append((number, line))
    if block:
        yield block


@contextmanager
def rereadable(path: str | os.PathLike[str]) -> Iterator[str]:
    """A path that can be read twice: standard input and pipes as a temporary file."""
    name = os.fspath(path)
    place = Path(name)
    if name != STDIO and (not place.exists() or place.is_file() or place.is_dir()):
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="nbest-") as folder:
        copy = Path(folder) / "lists"
        with open_bytes(name) as stream, copy.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 20)
        yield str(copy)


def in_blocks(
    one: Format,
    path: str,
    source: str,
    options: Options,
    size: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Blocks:
    """The lists at `path`, which can be read twice; `source` is what to call it.

    `progress` is told how many hypotheses were seen. Raises what is wrong anywhere in the file before the
    first block comes, but what is wrong with lists that may be set aside.
    """
    notes = Notes(source)
    survey = _Survey(source)
    kept: list[NbestLists] = []
    try:
        for number, block in enumerate(one.blocks(path, options, size, notes)):
            survey.add(block)
            progress(survey.rows)
            kept = [block] if number == 0 else []
    except OutOfOrderError as error:
        _log.warning("%s: the whole file is held in memory", error)
        options = _anew(options)
        kept = [one.whole(path, options)]
        notes, survey = Notes(source), _Survey(source)
        survey.add(kept[0])
    failures = () if options.aside is None else tuple(options.aside.failures)
    if not survey.rows:
        got = failures[0].error if failures else "no lines"
        raise FormatError("no n-best list in it", where=source, expected=one.what, got=got)
    schema, absent = survey.finish()
    notes.add_sparse(absent)
    notes.log()

    def read() -> Iterator[NbestLists]:
        several = iter(kept) if kept else one.blocks(path, _anew(options), size, Notes(source))
        for block in several:
            yield _with_schema(block, schema, source)

    return Blocks(one, source, tuple(survey.ids), schema, read, survey.blocks, survey.rows, failures)


def _anew(options: Options) -> Options:
    """Another reading of the same file sets the same lists aside."""
    return options if options.aside is None else replace(options, aside=Aside())


class _Survey:
    """The features of all blocks, and on how many hypotheses each is present."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.widths: dict[str, int] = {}
        self.present: dict[str, int] = {}
        self.ids: list[str] = []
        self.rows = self.blocks = 0

    def add(self, block: NbestLists) -> None:
        self.blocks += 1
        self.ids += block.ids
        for feature in block.schema:
            if self.widths.setdefault(feature.name, feature.width) != feature.width:
                raise FeatureError(
                    f"feature {feature.name} has another number of values than before",
                    where=block.where(0),
                    expected=str(self.widths[feature.name]),
                    got=str(feature.width),
                )
            self.present[feature.name] = self.present.get(feature.name, 0) + len(block.texts)
        self.rows += len(block.texts)
        names = {feature.name for feature in block.schema}
        for name, width in self.widths.items():
            if width > 1 and (name not in names or self.present[name] < self.rows):
                where = block.where(0) if name not in names else self.source
                raise FeatureError(
                    f"feature {name} is missing",
                    where=where,
                    expected=f"{width} values as on other lines",
                    got="none",
                )
        if len(self.widths) > MAX_SPARSE and len(self._absent()) > MAX_SPARSE:
            raise LimitError(
                "too many distinct sparse features",
                where=block.where(0),
                expected=f"at most {MAX_SPARSE} features that are absent on some line",
                got=f"{len(self._absent())} so far",
            )

    def _absent(self) -> list[str]:
        return [name for name, count in self.present.items() if count < self.rows]

    def finish(self) -> tuple[tuple[Feature, ...], Sequence[str]]:
        absent = set(self._absent())
        schema = tuple(Feature(name, width, name in absent) for name, width in self.widths.items())
        return schema, [name for name in self.widths if name in absent]


def _with_schema(block: NbestLists, schema: tuple[Feature, ...], source: str) -> NbestLists:
    """The block with the features `schema`: those that none of its lines has are 0."""
    if block.schema != schema:
        parts: list[NDArray[np.float64]] = []
        own = {feature.name for feature in block.schema}
        for feature in schema:
            zeros = np.zeros((len(block.texts), feature.width))
            parts.append(block.feature(feature.name) if feature.name in own else zeros)
        names = frozenset(feature.name for feature in schema)
        records = tuple(
            with_record(record, own_features=names) if hasattr(record, "own_features") else record
            for record in block.records
        )
        block = replace(block, schema=schema, features=np.concatenate(parts, axis=1), records=records)
    same = block.source == source and not any(feature.sparse for feature in schema)
    return block if same else replace(block, source=source, schema=schema)  # which are sparse, the file says
