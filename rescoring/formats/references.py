"""Reference texts, and which list each belongs to.

lines   plain text, line n for the list with the integer id n from 0 (Moses); one file or several
kaldi   ``utterance words`` a line, matched by utterance id; never taken for plain text where it can be told
JSON Lines, mlm-scoring's JSON and fairseq's output carry their references with the lists.
"""

import logging
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path as FilePath
from typing import NamedTuple

from nbest.errors import ConfigError, FormatError, ReferenceMismatchError, shorten
from nbest.files import STDIO, read_lines
from rescoring.formats import format_of
from rescoring.formats.kaldi_tables import parse_texts
from rescoring.nbest import NbestLists
from rescoring.text import DEFAULT_PIPELINE, get_pipeline, squeeze

Path = str | os.PathLike[str]
Lines = Sequence[tuple[int, str]]
STYLES = ("lines", "kaldi")
_log = logging.getLogger(__name__)
BY_NAME = ("kaldi", "srilm", "espnet", "mlm")  # formats whose lists are called by names


def read_references(
    paths: Path | Sequence[Path],
    lists: NbestLists,
    style: str | None = None,
    *,
    allow_extra: bool = False,
    text: str = DEFAULT_PIPELINE,
) -> tuple[tuple[str, ...], ...]:
    """S tuples of reference texts for the S lists, one text from each file; words one space apart.

    No path: those that the lists carry. A path without a file stands for the files PATH0, PATH1, ... (Moses).
    `style` is told from the lists' format unless given: kaldi where lists have names (kaldi, srilm, espnet,
    mlm), lines where they have numbers; but kaldi, which is said, if their ids begin the lines, and an error
    if other ids do. Lists of JSON Lines take kaldi if their ids begin the lines. With `allow_extra`
    references without a list are allowed (for a part of a set), else they are an error. The texts go through
    the pipeline `text`. Raises ReferenceMismatchError naming both sides, FormatError naming file and line.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if given:
        return references_of(
            given, lists.ids, format_of(lists), lists.source, style, allow_extra=allow_extra, text=text
        )
    if not lists.references:
        raise ReferenceMismatchError(
            "no references", where=lists.source, expected="a file of references, or lists that carry them"
        )
    check_words([one for several in lists.references for one in several], lists.source)
    return filtered(lists.references, text)


def references_of(
    paths: Sequence[Path],
    ids: Sequence[str],
    format_name: str,
    source: str,
    style: str | None = None,
    *,
    allow_extra: bool = False,
    text: str = DEFAULT_PIPELINE,
) -> tuple[tuple[str, ...], ...]:
    """As `read_references`, for the ids of lists that need not be in memory."""
    if style not in (None, *STYLES):
        raise ConfigError("unknown style of references", expected=" or ".join(STYLES), got=repr(style))
    wanted = _Wanted(tuple(ids), format_name, source, allow_extra)
    files = [_read_one(path, wanted, style) for path in numbered_files(paths)]
    return filtered(tuple(zip(*files, strict=True)), text)


def filtered(references: Sequence[Sequence[str]], text: str) -> tuple[tuple[str, ...], ...]:
    """The references through the text pipeline of that name."""
    pipeline = get_pipeline(text)
    return tuple(tuple(pipeline(several)) for several in references)


def numbered_files(paths: Sequence[Path]) -> list[Path]:
    """Moses' way to name several references: of ``ref``, where there is none, ``ref0``, ``ref1``, ..."""
    found: list[Path] = []
    for path in paths:
        name = os.fspath(path)
        stem = FilePath(name)
        if name == STDIO or stem.exists() or not stem.with_name(f"{stem.name}0").exists():
            found.append(path)
            continue
        for number in count():
            place = stem.with_name(f"{stem.name}{number}")
            if not place.exists():
                break
            found.append(place)
    return found


class _Wanted(NamedTuple):
    """The lists that need references."""

    ids: tuple[str, ...]
    format_name: str
    source: str
    allow_extra: bool


def _style(lines: Lines, name: str, wanted: _Wanted) -> str:
    if wanted.format_name in BY_NAME:
        return "kaldi"
    first_words = [line.split(" ", 1)[0].split("\t", 1)[0] for _, line in lines]
    if wanted.format_name == "jsonl":
        return "kaldi" if set(first_words) >= set(wanted.ids) else "lines"
    if len(first_words) > 1 and set(first_words) == set(wanted.ids):
        _log.warning("%s: taken for Kaldi's text: its lines begin with the ids of the lists", name)
        return "kaldi"
    if len(first_words) > 1 and len(set(first_words)) == len(first_words) and all(map(_is_name, first_words)):
        raise ReferenceMismatchError(
            "Kaldi's text: every line begins with the id of an utterance, and the lists have numbers",
            where=name,
            expected=f"plain text, line n for list n of {wanted.source}, or lists of these utterances",
            got=", ".join(map(shorten, first_words[:3])),
        )
    return "lines"


def _is_name(word: str) -> bool:
    """Whether it looks like an utterance's id: letters and digits in one word."""
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))


def _read_one(path: Path, wanted: _Wanted, style: str | None) -> list[str]:
    """One reference a list, from one file."""
    name = os.fspath(path)
    lines = list(read_lines(path))  # once: it may be a pipe
    by = _by_utterance if (style or _style(lines, name, wanted)) == "kaldi" else _by_line
    texts = by(lines, name, wanted)
    check_words(texts, name)
    return texts


def check_words(references: Sequence[str], where: str) -> None:
    """Raises ReferenceMismatchError where a score means nothing: without any word, or of Moses' lists."""
    if references and all(text.count("|||") > 1 for text in references):
        raise ReferenceMismatchError(
            "n-best lists where references should be",
            where=where,
            expected="one right text for each list",
            got=shorten(references[0]),
        )
    if not any(text.strip() for text in references):
        raise ReferenceMismatchError(
            "no word in the references",
            where=where,
            expected="at least one reference that is not empty",
            got=f"{len(references)} empty ones",
        )


def _by_utterance(lines: Lines, name: str, wanted: _Wanted) -> list[str]:
    texts: dict[str, str] = {}
    for row, (utterance, text) in enumerate(parse_texts(lines, name)):
        if utterance in texts:
            raise FormatError(
                f"utterance {shorten(utterance)} stands there twice",
                where=f"{name}:{row + 1}",
                expected=f"'utterance words', each utterance of {wanted.source} once",
            )
        texts[utterance] = text
    missing = [utterance for utterance in wanted.ids if utterance not in texts]
    extra = sorted(texts.keys() - set(wanted.ids))
    if missing or (extra and not wanted.allow_extra):
        raise ReferenceMismatchError(
            f"utterances without a reference: {_some(missing)}; references without a list: {_some(extra)}",
            where=name,
            expected=f"the {len(wanted.ids)} utterances of {wanted.source}",
            got=f"{len(texts)} utterances",
        )
    return [texts[utterance] for utterance in wanted.ids]


def _by_line(lines: Lines, name: str, wanted: _Wanted) -> list[str]:
    texts = [squeeze(line) for _, line in lines]
    wrong = [list_id for list_id in wanted.ids if not (list_id.isascii() and list_id.isdigit())]
    if wrong and wanted.format_name == "jsonl":  # ids are names: by position
        numbers = list(range(len(wanted.ids)))
    elif wrong:
        raise ReferenceMismatchError(
            "references by line need lists with integer ids", where=name, got=shorten(wrong[0])
        )
    else:
        numbers = [int(list_id) for list_id in wanted.ids]
    needed = max(numbers, default=-1) + 1
    if needed > len(texts) or (needed < len(texts) and not wanted.allow_extra):
        raise ReferenceMismatchError(
            "references and lists do not belong together",
            where=name,
            expected=f"{needed} lines, as the highest id of {wanted.source} is {needed - 1}"
            if not wrong
            else f"{needed} lines, one for each list of {wanted.source}",
            got=f"{len(texts)} lines",
        )
    return [texts[number] for number in numbers]


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
