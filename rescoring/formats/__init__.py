"""N-best lists from files and back: one module a format, and the format told from the content."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FeatureError, FormatError, NotFoundError, shorten
from nbest.files import STDIO, check_output, check_output_directory, read_lines, write_whole
from rescoring.formats.aside import Aside
from rescoring.formats.base import AnyPath, BeamSize, Format, Options, Write
from rescoring.formats.blocks import BLOCK_HYPOTHESES, Blocks, in_blocks, rereadable
from rescoring.formats.checks import warn_of_mistakes
from rescoring.formats.moses_write import blank_lines
from rescoring.formats.rows import hypothesis_rows
from rescoring.formats.table import FORMATS
from rescoring.nbest import NbestLists

__all__ = [
    "FORMATS",
    "Blocks",
    "Format",
    "check_target",
    "format_at",
    "format_of",
    "hypothesis_rows",
    "one_best_blanks",
    "one_best_lines",
    "open_blocks",
    "open_one_best",
    "open_writer",
    "parse_nbest",
    "read_nbest",
    "write_nbest",
    "write_one_best",
]

OneBestWrite = Callable[[NbestLists, NDArray[np.int64]], None]  # takes the best rows (S,) of the next lists
_log = logging.getLogger(__name__)


def read_nbest(
    path: AnyPath,
    format: str | None = None,  # noqa: A002 - the word of the command line and of the HTTP API
    *,
    keep_total: bool = False,
    columns: Sequence[str] | None = None,
    words_txt: AnyPath | None = None,
    beam_size: BeamSize | None = None,
) -> NbestLists:
    """The lists at `path`: a file (compressed by name; ``-`` is standard input) or a directory.

    The format is told from the content unless given. `keep_total` (Moses) adds the decoder's total as the
    feature `decoder_total`; `columns` (Kaldi) chooses the features; `words_txt` (Kaldi) turns ids into words;
    `beam_size` (NeMo) says how many hypotheses a list, or each list, has. What looks like a wrong sign or
    base is logged. Raises NotFoundError, FormatError, FeatureError, ConfigError or LimitError naming file and
    line.
    """
    options = Options(keep_total, None if columns is None else tuple(columns), words_txt, beam_size)
    with _opened(path, format, options) as (one, place, known):
        lists = one.whole(place, known)
        if known.called is not None and lists.source != known.called:
            lists = replace(lists, source=known.called)
    warn_of_mistakes(lists)
    return lists


@contextmanager
def open_blocks(
    path: AnyPath,
    format: str | None = None,  # noqa: A002
    *,
    size: int = BLOCK_HYPOTHESES,
    keep_total: bool = False,
    columns: Sequence[str] | None = None,
    words_txt: AnyPath | None = None,
    beam_size: BeamSize | None = None,
    set_aside: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Blocks]:
    """As `read_nbest`, for files of any size: blocks of whole lists, `size` hypotheses or a few more each.

    All have the features of the whole file, which is looked through first: a fault is raised then, or, if it
    is of one list and that may be `set_aside`, stands in the blocks' failures. `progress` is told of the
    hypotheses seen.
    """
    options = Options(keep_total, None if columns is None else tuple(columns), words_txt, beam_size)
    options = replace(options, aside=Aside() if set_aside else None)
    with _opened(path, format, options) as (one, place, known):
        source = known.called or place
        blocks = in_blocks(one, place, source, known, size, progress)
        warn_of_mistakes(next(iter(blocks)))
        yield blocks


@contextmanager
def _opened(path: AnyPath, name: str | None, options: Options) -> Iterator[tuple[Format, str, Options]]:
    """The format, a path that can be read more than once, and the options with the source's name."""
    where = os.fspath(path)
    with rereadable(where) as place:
        called = None if place == where else "<stdin>" if where == STDIO else where
        one = _format_at(place, name, called or where)
        _check_options(one, options)
        yield one, place, replace(options, called=called)


def format_at(path: AnyPath) -> str:
    """The name of the format of what stands at `path`, by its content; raises as `read_nbest` does."""
    return _format_at(os.fspath(path), None, os.fspath(path)).name


def _check_options(one: Format, options: Options) -> None:
    for option in options.given():
        if option not in one.options:
            owner = next(other.name for other in FORMATS.values() if option in other.options)
            raise ConfigError(f"{option} is for the format {owner}", expected=owner, got=one.name)


def _format_at(path: str, name: str | None, where: str) -> Format:
    """The format called `name`, if what stands at `path` can be of it; without a name the one it is of."""
    if name is not None and name not in FORMATS:
        raise ConfigError("unknown file format", where=where, expected=_names(), got=repr(name))
    place = Path(path)
    if place.is_dir():
        of_directories = [one for one in FORMATS.values() if one.claims is not None]
        if name is not None:
            if FORMATS[name].claims is None:
                raise FormatError("is a directory", where=where, expected=f"a {name} file")
            return FORMATS[name]
        for one in of_directories:
            if one.claims is not None and one.claims(place):
                return one
        kinds = ", ".join(one.name for one in of_directories)
        kaldi = FORMATS["kaldi"].claims
        above = f", such as {place.parent}" if kaldi is not None and kaldi(place.parent) else ""
        raise FormatError("is a directory", where=where, expected=f"a file, or a directory of {kinds}{above}")
    if name is not None:
        one = FORMATS[name]
        if one.begins is None:
            if not place.exists():
                raise NotFoundError("no such directory", where=where)
            raise FormatError("is a file", where=where, expected=f"a directory of {name}")
        return one
    for number, line in read_lines(path):
        if line.strip(" \t"):
            return _sniffed(line, f"{where}:{number}")
    raise FormatError("no n-best list in it", where=where, expected=_known(), got="no lines")


def _sniffed(line: str, where: str) -> Format:
    for one in FORMATS.values():
        if one.begins is not None and one.begins(line):
            return one
    raise FormatError("n-best lists of an unknown format", where=where, expected=_known(), got=shorten(line))


def parse_nbest(
    lines: Iterable[tuple[int, str]],
    source: str,
    format: str | None = None,  # noqa: A002
    *,
    keep_total: bool = False,
    beam_size: BeamSize | None = None,
) -> NbestLists:
    """As `read_nbest`, from pairs (line number, line); `source` names them in errors."""
    numbered = iter(lines)
    if format is None:
        blank: list[tuple[int, str]] = []
        for number, line in numbered:
            blank.append((number, line))
            if line.strip(" \t"):
                format = _sniffed(line, f"{source}:{number}").name  # noqa: A001
                break
        else:
            raise FormatError("no n-best list in it", where=source, expected=_known(), got="no lines")
        numbered = chain(blank, numbered)
    one = FORMATS.get(format)
    if one is None or one.parse is None:
        names = " or ".join(other.name for other in FORMATS.values() if other.parse is not None)
        raise ConfigError("unknown file format", where=source, expected=names, got=repr(format))
    options = Options(keep_total=keep_total, beam_size=beam_size)
    _check_options(one, options)
    return one.parse(numbered, source, options)


def _names() -> str:
    return f"one of {', '.join(FORMATS)}"


def _known() -> str:
    return f"lists of {', '.join(FORMATS)}"


def format_of(lists: NbestLists) -> str:
    """The format these lists were read from; ``jsonl`` for lists that were made in memory."""
    kinds = {type(record) for record in lists.records}
    return next((one.name for one in FORMATS.values() if kinds == {one.record}), "jsonl")


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError("unknown format", expected=_names(), got=repr(name))
    return FORMATS[name]


def open_writer(path: AnyPath, format: str) -> AbstractContextManager[Write]:  # noqa: A002
    """A place to write lists to, block by block: ``write(lists, order, totals)``; whole or not at all."""
    return _format(format).open(path)


def write_nbest(
    lists: NbestLists,
    path: AnyPath,
    format: str | None = None,  # noqa: A002
    *,
    totals: NDArray[np.float64] | None = None,
    ranking: NDArray[np.int64] | None = None,
) -> None:
    """Write the lists, by default in the format they came in; features added since are added to it.

    `totals` (N,) replace the decoder's scores and the best stands first (on ties the earlier one);
    `ranking` (N,) row numbers, list by list, sets another order. Neither: the order as it is.
    """
    if totals is not None:
        totals = np.asarray(totals, dtype=np.float64)
        if totals.shape != (len(lists.texts),) or not np.isfinite(totals).all():
            raise FeatureError(
                "totals do not fit the lists",
                where=lists.source,
                expected=f"{len(lists.texts)} finite numbers",
                got=f"shape {totals.shape}, {int((~np.isfinite(totals)).sum())} not finite",
            )
    if ranking is None:
        ranking = np.arange(len(lists.texts), dtype=np.int64)
        if totals is not None:
            ranking = np.lexsort((-totals, lists.segments))  # stable: the earlier one wins ties
    if not np.array_equal(lists.segments[np.asarray(ranking)], lists.segments) or len(
        np.unique(ranking)
    ) != len(ranking):
        raise ValueError("a ranking holds each row once, list by list")
    with open_writer(path, format or format_of(lists)) as write:
        write(lists, ranking, totals)


def check_target(
    path: AnyPath,
    format: str,  # noqa: A002
    *,
    one_best: bool = False,
) -> None:
    """Raises NotFoundError or InputError where lists, or their 1-bests, cannot be written to `path`.

    The writers would say the same, but only when the work is done.
    """
    one = _format(format)
    if one.directory and not one_best:
        check_output_directory(path, replaces=one.replaces)
    else:
        check_output(path)


def write_one_best(
    lists: NbestLists,
    rows: NDArray[np.int64],
    path: AnyPath,
    format: str | None = None,  # noqa: A002
) -> None:
    """One text a list, for `rows` (S,), by default in the style of the lists' own format.

    moses, nemo, fairseq: plain text, an empty line for each id missing between two ids; kaldi, srilm, espnet,
    mlm: ``utterance words``; jsonl: ``{"id": ..., "text": ...}``. Texts are without trace tokens.
    """
    if len(rows) != len(lists):
        raise ValueError(f"one row a list: expected {len(lists)}, got {len(rows)}")
    with open_one_best(path, format or format_of(lists), lists.ids, lists.source) as write:
        write(lists, rows)


@contextmanager
def open_one_best(
    path: AnyPath,
    format: str,  # noqa: A002
    ids: Sequence[str],
    source: str,
) -> Iterator[OneBestWrite]:
    """As `write_one_best`, block by block; `ids` are those of all lists."""
    blanks = iter(one_best_blanks(format, ids, source))
    with write_whole(path) as stream:

        def write(lists: NbestLists, rows: NDArray[np.int64]) -> None:
            before = list(islice(blanks, len(lists)))
            lines = one_best_lines(lists, rows, format, lists.ids, before)
            stream.writelines(f"{line}\n".encode() for line in lines)

        yield write


def one_best_blanks(
    format: str,  # noqa: A002
    ids: Sequence[str],
    source: str,
) -> list[int]:
    """(S,) how many empty lines stand before the text of each list; says so where there are some."""
    blanks = blank_lines(ids, source) if _format(format).one_best.numbered else [0] * len(ids)
    if missing := sum(blanks):
        _log.warning("%s: %d ids are missing; their 1-best lines are empty", source, missing)
    return blanks


def one_best_lines(
    lists: NbestLists,
    rows: NDArray[np.int64],
    format: str,  # noqa: A002
    ids: Sequence[str],
    blanks: Sequence[int],
) -> Iterator[str]:
    """The best texts, for `rows` (S,), in the order of `ids`, each after its `blanks` empty lines.

    Of the `ids` some lists may be missing: they have an empty line where lines are numbered, else none.
    """
    style = _format(format).one_best
    row_of = dict(zip(lists.ids, rows.tolist(), strict=True))
    for list_id, before in zip(ids, blanks, strict=True):
        yield from [""] * before
        if list_id in row_of:
            yield style.line(list_id, lists.texts[row_of[list_id]])
        elif style.numbered:
            yield ""
