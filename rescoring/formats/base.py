"""What a format is: how it looks, how its lists are read, whole or block by block, and written."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError
from nbest.files import STDIO, decode_lines, open_bytes, write_whole
from rescoring.formats.aside import Aside
from rescoring.formats.notes import Notes
from rescoring.nbest import NbestLists

AnyPath = str | os.PathLike[str]
BeamSize = int | tuple[int, ...]  # hypotheses a list: of all lists, or of each
Lines = Iterable[tuple[int, str]]  # (line number from 1, line without its end)
Rows = NDArray[np.int64]
Totals = NDArray[np.float64]
LineWriter = Callable[[NbestLists, Rows, Totals | None, Notes], Iterator[str]]
# What one block adds to a file; pieces stand one behind the other there, whoever made them.
Piece = Callable[[NbestLists, Rows, Totals | None, Notes], bytes]
# Puts the files of one block into a directory; no two blocks have the same file.
BlockFiles = Callable[[Path, NbestLists, Rows, Totals | None, Notes], None]
# Takes the next lists: rows in their new order (N,), and totals (N,) or None. Each call writes one block.
Write = Callable[[NbestLists, Rows, Totals | None], None]

WHOLE = 1 << 62  # a block size that no file reaches


@dataclass(frozen=True)
class Options:
    """What some formats need to be told; each says which of these it takes.

    keep_total  Moses: the decoder's total as a feature
    columns     Kaldi: the tables to read
    words_txt   Kaldi: words by their ids
    beam_size   NeMo: hypotheses a list, one number for all or one for each
    called      what errors call the source, where that is not its path
    aside       takes lists that cannot be read; None: they are an error
    """

    keep_total: bool = False
    columns: tuple[str, ...] | None = None
    words_txt: AnyPath | None = None
    beam_size: BeamSize | None = None
    called: str | None = None
    aside: Aside | None = None

    def given(self) -> list[str]:
        """The names of those that differ from their default."""
        chosen = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        return [name for name in chosen if name not in ("called", "aside")]


@dataclass(frozen=True)
class Frame:
    """What stands around the pieces of a file, and between two of them."""

    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""


@dataclass(frozen=True)
class OneBest:
    """One text a list.

    line      from a list's id and its best text
    numbered  whether line n is list n: then an id that is missing has an empty line
    """

    line: Callable[[str, str], str]
    numbered: bool = False


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
    one_best  how one text a list is written
    piece     what a block adds to the one file of its lists, from the number of lists before it
    frame     what stands around these pieces
    files     puts a block's files into the directory of its lists; each format has this or `piece`
    complete  what is left to do in such a directory when all blocks are in it, from the lists' source
    replaces  what such a directory holds, as patterns
    """

    name: str
    what: str
    record: type
    options: frozenset[str]
    blocks: Callable[[AnyPath, Options, int, Notes], Iterator[NbestLists]]
    open: Callable[[AnyPath], AbstractContextManager[Write]]
    one_best: OneBest
    piece: Callable[[int], Piece] | None = None
    frame: Frame = Frame()
    files: BlockFiles | None = None
    complete: Callable[[Path, Path], None] | None = None
    parse: Callable[[Lines, str, Options], NbestLists] | None = None
    begins: Callable[[str], bool] | None = None
    claims: Callable[[Path], bool] | None = None
    replaces: tuple[str, ...] = ()

    @property
    def directory(self) -> bool:
        """Whether it is written as a directory."""
        return self.files is not None

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
    return _decoded(path, called, anyhow=options.aside is not None), called


def _decoded(path: AnyPath, called: str, *, anyhow: bool) -> Lines:
    with open_bytes(path) as stream:
        yield from decode_lines(stream, called, anyhow=anyhow)


def of_lines(lines_of: LineWriter) -> Piece:
    """The piece of a format whose blocks are just lines after lines."""

    def piece(lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> bytes:
        return "".join(f"{line}\n" for line in lines_of(lists, order, totals, notes)).encode()

    return piece


def file_writer(
    make: Callable[[int], Piece], frame: Frame = Frame()
) -> Callable[[AnyPath], AbstractContextManager[Write]]:
    """`Format.open` for a format of one file."""

    @contextmanager
    def opened(path: AnyPath) -> Iterator[Write]:
        notes, piece = Notes(os.fspath(path)), make(0)
        with write_whole(path) as stream:
            before = frame.head

            def write(lists: NbestLists, order: Rows, totals: Totals | None = None) -> None:
                nonlocal before
                content = piece(lists, order, totals, notes)
                stream.write(before + content)
                before = frame.between

            yield write
            stream.write(frame.tail)
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
