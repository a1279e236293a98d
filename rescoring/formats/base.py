"""What a format is: how it looks, how its lists are read, whole or block by block, and written."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError
from nbest.files import STDIO, decode_lines, open_bytes, write_whole
from rescoring.formats.notes import Notes
from rescoring.nbest import NbestLists

AnyPath = str | os.PathLike[str]
Lines = Iterable[tuple[int, str]]  # (line number from 1, line without its end)
Rows = NDArray[np.int64]
Totals = NDArray[np.float64]
LineWriter = Callable[[NbestLists, Rows, Totals | None, Notes], Iterator[str]]
OneBest = Callable[[NbestLists, Rows], Iterator[str]]  # lines for the best rows (S,) of the next lists
# Takes the next lists: rows in their new order (N,), and totals (N,) or None. Each call writes one block.
Write = Callable[[NbestLists, Rows, Totals | None], None]

WHOLE = 1 << 62  # a block size that no file reaches


@dataclass(frozen=True)
class Options:
    """What some formats need to be told; each says which of these it takes.

    keep_total  Moses: the decoder's total as a feature
    columns     Kaldi: the tables to read
    words_txt   Kaldi: words by their ids
    beam_size   NeMo: hypotheses a list
    called      what errors call the source, where that is not its path
    """

    keep_total: bool = False
    columns: tuple[str, ...] | None = None
    words_txt: AnyPath | None = None
    beam_size: int | None = None
    called: str | None = None

    def given(self) -> list[str]:
        """The names of those that differ from their default."""
        chosen = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        return [name for name in chosen if name != "called"]


@dataclass(frozen=True)
class Format:
    """A format.

    name      as in --format
    what      how it looks, in a few words
    record    the class of the records that its reader leaves
    options   which Options it takes
    blocks    whole lists, at least `size` hypotheses a block; the last may be smaller
    parse     all lists from numbered lines; where None, `blocks` with one block
    begins    whether a file with this first line that is not blank is of this format; None: never a file
    claims    whether a directory is of this format; None: never a directory
    open      a place to write to, whole or not at all
    one_best  from the ids of all lists: what writes one text a list
    directory whether it is written as a directory
    replaces  what such a directory holds, as patterns
    """

    name: str
    what: str
    record: type
    options: frozenset[str]
    blocks: Callable[[AnyPath, Options, int, Notes], Iterator[NbestLists]]
    open: Callable[[AnyPath], AbstractContextManager[Write]]
    one_best: Callable[[Sequence[str], str], OneBest]
    parse: Callable[[Lines, str, Options], NbestLists] | None = None
    begins: Callable[[str], bool] | None = None
    claims: Callable[[Path], bool] | None = None
    directory: bool = False
    replaces: tuple[str, ...] = ()

    def whole(self, path: AnyPath, options: Options) -> NbestLists:
        """All lists at `path`."""
        if self.parse is not None:
            return self.parse(*named_lines(path, options), options)
        notes = Notes(options.called or os.fspath(path))
        for lists in self.blocks(path, options, WHOLE, notes):
            notes.log()
            return lists
        raise FormatError("no n-best list in it", where=notes.source, expected=self.what, got="nothing")


def named_lines(path: AnyPath, options: Options) -> tuple[Lines, str]:
    """The lines of a file or of standard input, and what to call it in errors."""
    name = os.fspath(path)
    called = options.called or ("<stdin>" if name == STDIO else name)
    return decode_named(path, called), called


def decode_named(path: AnyPath, called: str) -> Lines:
    """As `read_lines`, with another name in errors."""
    with open_bytes(path) as stream:
        yield from decode_lines(stream, called)


def line_writer(make: Callable[[], LineWriter]) -> Callable[[AnyPath], AbstractContextManager[Write]]:
    """`Format.open` for a format whose blocks are just lines after lines."""

    @contextmanager
    def opened(path: AnyPath) -> Iterator[Write]:
        notes, lines_of = Notes(os.fspath(path)), make()
        with write_whole(path) as stream:

            def write(lists: NbestLists, order: Rows, totals: Totals | None = None) -> None:
                stream.writelines(f"{line}\n".encode() for line in lines_of(lists, order, totals, notes))

            yield write
        notes.log()

    return opened


def offsets_of(counts: Iterable[int]) -> NDArray[np.int64]:
    """(S+1,) where each list begins, from the numbers of their hypotheses."""
    return np.concatenate([[0], np.cumsum(list(counts), dtype=np.int64)]).astype(np.int64)


def own_records(lists: NbestLists, kind: type) -> bool:
    """Whether every hypothesis was read by the reader that leaves records of this class."""
    return bool(lists.records) and all(isinstance(record, kind) for record in lists.records)


def with_record(record: Any, **changes: Any) -> Any:
    """A named tuple with other fields."""
    return record._replace(**changes)
