"""Reference texts, and which list each belongs to.

lines   plain text, line n for the list with the integer id n from 0 (Moses); one file or several
kaldi   ``utterance words`` a line, matched by utterance id
JSON Lines carry their references with the lists.
"""

import os
from collections.abc import Sequence

from nbest.errors import ConfigError, FormatError, ReferenceMismatchError, shorten
from nbest.files import read_lines
from rescoring.formats import format_of
from rescoring.formats.kaldi_tables import read_texts
from rescoring.nbest import NbestLists
from rescoring.text import squeeze

Path = str | os.PathLike[str]
STYLES = ("lines", "kaldi")


def read_references(
    paths: Path | Sequence[Path],
    lists: NbestLists,
    style: str | None = None,
    *,
    allow_extra: bool = False,
) -> tuple[tuple[str, ...], ...]:
    """S tuples of reference texts for the S lists, one text from each file; words one space apart.

    No path: those that the lists carry. `style` is told from the lists' format unless given: kaldi for
    Kaldi lists, lines for Moses lists; lists of JSON Lines take kaldi if their ids begin the lines. With
    `allow_extra` references without a list are allowed (for a part of a set), else they are an error.
    Raises ReferenceMismatchError naming both sides, FormatError naming file and line.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        if not lists.references:
            raise ReferenceMismatchError(
                "no references", where=lists.source, expected="a file of references, or lists that carry them"
            )
        check_words([text for several in lists.references for text in several], lists.source)
        return lists.references
    if style not in (None, *STYLES):
        raise ConfigError("unknown style of references", expected=" or ".join(STYLES), got=repr(style))
    files = [_read_one(path, lists, style or _style(path, lists), allow_extra) for path in given]
    return tuple(zip(*files, strict=True))


def _style(path: Path, lists: NbestLists) -> str:
    name = format_of(lists)
    if name == "jsonl":
        first_words = {line.split(" ", 1)[0].split("\t", 1)[0] for _, line in read_lines(path)}
        return "kaldi" if first_words >= set(lists.ids) else "lines"
    return "kaldi" if name == "kaldi" else "lines"


def _read_one(path: Path, lists: NbestLists, style: str, allow_extra: bool) -> list[str]:
    """One reference a list, from one file."""
    by = _by_utterance if style == "kaldi" else _by_line
    texts = by(path, lists, allow_extra)
    check_words(texts, os.fspath(path))
    return texts


def check_words(references: Sequence[str], where: str) -> None:
    """Raises ReferenceMismatchError where there is no word in any of them: no score would mean anything."""
    if not any(text.strip() for text in references):
        raise ReferenceMismatchError(
            "no word in the references",
            where=where,
            expected="at least one reference that is not empty",
            got=f"{len(references)} empty ones",
        )


def _by_utterance(path: Path, lists: NbestLists, allow_extra: bool) -> list[str]:
    name = os.fspath(path)
    texts: dict[str, str] = {}
    for row, (utterance, text) in enumerate(read_texts(path)):
        if utterance in texts:
            raise FormatError(f"utterance {utterance} stands there twice", where=f"{name}:{row + 1}")
        texts[utterance] = text
    missing = [utterance for utterance in lists.ids if utterance not in texts]
    extra = sorted(texts.keys() - set(lists.ids))
    if missing or (extra and not allow_extra):
        raise ReferenceMismatchError(
            f"utterances without a reference: {_some(missing)}; references without a list: {_some(extra)}",
            where=name,
            expected=f"the {len(lists)} utterances of {lists.source}",
            got=f"{len(texts)} utterances",
        )
    return [texts[utterance] for utterance in lists.ids]


def _by_line(path: Path, lists: NbestLists, allow_extra: bool) -> list[str]:
    name = os.fspath(path)
    texts = [squeeze(line) for _, line in read_lines(path)]
    wrong = [list_id for list_id in lists.ids if not (list_id.isascii() and list_id.isdigit())]
    if wrong and format_of(lists) == "jsonl":  # ids are names: by position
        numbers = list(range(len(lists)))
    elif wrong:
        raise ReferenceMismatchError(
            "references by line need lists with integer ids", where=name, got=shorten(wrong[0])
        )
    else:
        numbers = [int(list_id) for list_id in lists.ids]
    needed = max(numbers, default=-1) + 1
    if needed > len(texts) or (needed < len(texts) and not allow_extra):
        raise ReferenceMismatchError(
            "references and lists do not belong together",
            where=name,
            expected=f"{needed} lines, as the highest id of {lists.source} is {needed - 1}"
            if not wrong
            else f"{needed} lines, one for each list of {lists.source}",
            got=f"{len(texts)} lines",
        )
    return [texts[number] for number in numbers]


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
