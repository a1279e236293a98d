"""N-best lists from files and back: one module a format, and the format told from the content."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FeatureError, FormatError, NotFoundError, shorten
from nbest.files import STDIO, check_output, check_output_directory, read_lines, write_whole
from rescoring.formats.jsonl import JsonRecord, jsonl_one_best, read_jsonl, write_jsonl
from rescoring.formats.kaldi import KaldiRecord, is_kaldi_directory, kaldi_one_best, read_kaldi
from rescoring.formats.kaldi_write import KALDI_NAMES, write_kaldi
from rescoring.formats.moses import MosesRecord, read_moses
from rescoring.formats.moses_write import moses_one_best, write_moses
from rescoring.nbest import NbestLists

__all__ = [
    "FORMATS",
    "Format",
    "check_target",
    "format_of",
    "hypothesis_rows",
    "parse_nbest",
    "read_nbest",
    "write_nbest",
    "write_one_best",
]


class Writer(Protocol):
    """Writes the hypotheses in the row order `order` (N,), with new `totals` (N,) if given."""

    def __call__(
        self,
        lists: NbestLists,
        path: str | os.PathLike[str],
        order: NDArray[np.int64],
        totals: NDArray[np.float64] | None = None,
    ) -> None:
        """Whole or not at all."""


@dataclass(frozen=True)
class Format:
    """A format: its name, what it looks like, its writer, and how it writes one text a list."""

    name: str
    what: str
    record: type
    write: Writer
    one_best: Callable[[NbestLists, NDArray[np.int64]], Iterator[str]]


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("moses", "id ||| text ||| features ||| total", MosesRecord, write_moses, moses_one_best),
        Format(
            "kaldi", "a directory with num_jobs, archives.1, ...", KaldiRecord, write_kaldi, kaldi_one_best
        ),
        Format("jsonl", "one JSON object a list", JsonRecord, write_jsonl, jsonl_one_best),
    )
}


def read_nbest(
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002 - the word of the command line and of the HTTP API
    *,
    keep_total: bool = False,
    columns: Sequence[str] | None = None,
    words_txt: str | os.PathLike[str] | None = None,
) -> NbestLists:
    """The lists at `path`: a file (compressed by name; ``-`` is standard input) or a Kaldi directory.

    The format is told from the content unless given. `keep_total` (Moses) adds the decoder's total as the
    feature `decoder_total`; `columns` (Kaldi) chooses the features; `words_txt` (Kaldi) turns ids into words.
    Raises NotFoundError, FormatError, FeatureError or LimitError naming file and line.
    """
    name = os.fspath(path)
    if name != STDIO and Path(name).is_dir():
        if format not in (None, "kaldi") or (format is None and not is_kaldi_directory(Path(name))):
            raise FormatError(
                "is a directory", where=name, expected=f"a {format or 'Kaldi n-best directory or a'} file"
            )
        _refuse(keep_total, "keep_total", "moses", "kaldi")
        return read_kaldi(name, columns=columns, words_txt=words_txt)
    if format == "kaldi":
        if name != STDIO and not Path(name).exists():
            raise NotFoundError("no such directory", where=name)
        raise FormatError("is a file", where=name, expected="a Kaldi n-best directory")
    _refuse(columns is not None, "columns", "kaldi", format or "a file")
    _refuse(words_txt is not None, "words_txt", "kaldi", format or "a file")
    source = "<stdin>" if name == STDIO else name
    return parse_nbest(read_lines(path), source, format, keep_total=keep_total)


def parse_nbest(
    lines: Iterable[tuple[int, str]],
    source: str,
    format: str | None = None,  # noqa: A002
    *,
    keep_total: bool = False,
) -> NbestLists:
    """As `read_nbest`, from pairs (line number, line); `source` names them in errors."""
    numbered = iter(lines)
    if format is None:
        blank: list[tuple[int, str]] = []
        for number, line in numbered:
            blank.append((number, line))
            if line.strip(" \t"):
                format = _sniff(line, f"{source}:{number}")  # noqa: A001
                break
        else:
            raise FormatError("no n-best list in it", where=source, expected=_known(), got="no lines")
        numbered = chain(blank, numbered)
    if format == "moses":
        return read_moses(numbered, source, keep_total=keep_total)
    _refuse(keep_total, "keep_total", "moses", format)
    if format == "jsonl":
        return read_jsonl(numbered, source)
    raise ConfigError("unknown file format", where=source, expected="moses or jsonl", got=repr(format))


def _sniff(line: str, where: str) -> str:
    if line.lstrip(" \t").startswith("{"):
        return "jsonl"
    if "|||" in line:
        return "moses"
    raise FormatError("n-best lists of an unknown format", where=where, expected=_known(), got=shorten(line))


def _known() -> str:
    return " or ".join(f"{one.name} ({one.what})" for one in FORMATS.values())


def _refuse(given: bool, option: str, belongs_to: str, format_name: str) -> None:
    if given:
        raise ConfigError(f"{option} is for the format {belongs_to}", expected=belongs_to, got=format_name)


def format_of(lists: NbestLists) -> str:
    """The format these lists were read from; ``jsonl`` for lists that were made in memory."""
    kinds = {type(record) for record in lists.records}
    return next((one.name for one in FORMATS.values() if kinds == {one.record}), "jsonl")


def _format(lists: NbestLists, name: str | None) -> Format:
    name = format_of(lists) if name is None else name
    if name not in FORMATS:
        raise ConfigError("unknown format", expected=f"one of {', '.join(FORMATS)}", got=repr(name))
    return FORMATS[name]


def write_nbest(
    lists: NbestLists,
    path: str | os.PathLike[str],
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
    _format(lists, format).write(lists, path, ranking, totals)


def check_target(
    path: str | os.PathLike[str],
    format: str,  # noqa: A002
    *,
    one_best: bool = False,
) -> None:
    """Raises NotFoundError or InputError where lists, or their 1-bests, cannot be written to `path`.

    The writers would say the same, but only when the work is done.
    """
    if format == "kaldi" and not one_best:
        check_output_directory(path, replaces=KALDI_NAMES)
    else:
        check_output(path)


def write_one_best(
    lists: NbestLists,
    rows: NDArray[np.int64],
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
) -> None:
    """One text a list, for `rows` (S,), by default in the style of the lists' own format.

    moses: plain text, an empty line for each id missing between two ids; kaldi: ``utterance words``;
    jsonl: ``{"id": ..., "text": ...}``. Texts are as they were scored, without trace tokens.
    """
    if len(rows) != len(lists):
        raise ValueError(f"one row a list: expected {len(lists)}, got {len(rows)}")
    with write_whole(path) as stream:
        for line in _format(lists, format).one_best(lists, rows):
            stream.write(f"{line}\n".encode())


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
