"""N-best lists as somebody has them, in any format of one file, as the lists of a request."""

import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbest.errors import ConfigError, FormatError, InputError, LimitError, shorten
from nbest.files import read_lines
from rescoring.formats import FORMATS, Format
from rescoring.formats.base import BeamSize, Options
from rescoring.formats.checks import mistakes
from rescoring.formats.jsonl import jsonl_lines
from rescoring.formats.srilm_lines import kind_of
from rescoring.pipeline import with_decoder_total
from service.bodies import decode_text
from service.json_body import parse_json

SOURCE = "body"  # what errors call it
_UTTERANCE = "utterance"  # the id of a list that has no other, as SRILM's: there it is the file's name


@dataclass(frozen=True)
class Converted:
    """The lists.

    format    the name of the format they came in, as in `nbest convert --from`
    lists     each as JSON text, in the shape of /v1/rescore
    warnings  what was left out, or looks like a mistake
    """

    format: str
    lists: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def converted(body: bytes, beam_size: BeamSize | None, max_hypotheses: int) -> Converted:
    """The lists of a file's bytes, its format told from its beginning; `beam_size` is for NeMo's.

    JSON of the API's own shape, one list or several, a line each or not, is passed on as it is: whoever takes
    the lists says what is wrong with each. Raises FormatError, ConfigError, LimitError, what readers raise.
    """
    text = decode_text(body).removeprefix("\ufeff")
    if not text.strip():
        raise FormatError("nothing in it", where=SOURCE, expected=_expected(), got="no lines")
    if text.count("\n") > 4 * max_hypotheses:
        raise LimitError("too many lines", expected=f"at most {4 * max_hypotheses}")
    if text.lstrip()[0] in "[{":
        lists = _api_lists(text)
        if lists is not None:
            return Converted("jsonl", tuple(map(_written, lists)))
    return _read(text, beam_size)


def _api_lists(text: str) -> list[Any] | None:
    """The lists of the API's own JSON: a request, an array, one list, or a list a line; None for another."""
    try:
        whole = parse_json(text.encode())
    except FormatError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) == 1 or text.lstrip()[0] == "[" or lines[0][1].strip(" \t\r") == "{":
            raise error
        return [_line(number, line) for number, line in lines]
    if isinstance(whole, list):
        return whole
    if isinstance(whole.get("lists"), list):
        return list(whole["lists"])
    return [whole] if "hypotheses" in whole else None


def _line(number: int, line: str) -> Any:
    try:
        return parse_json(line.encode())
    except FormatError as error:
        message = error.message.replace("body is not JSON", "the line is not JSON")
        raise FormatError(
            message, where=f"{SOURCE}:{number}", expected="one JSON object a line", got=error.got
        ) from None


def _written(one: Any) -> str:
    try:
        return json.dumps(one, allow_nan=False)
    except ValueError:
        raise FormatError(
            "a number in the lists is not finite", where=SOURCE, expected="finite numbers"
        ) from None


def _read(text: str, beam_size: BeamSize | None) -> Converted:
    """By the readers of files: some of them read one more than once."""
    with tempfile.TemporaryDirectory(prefix="nbest-") as folder, _warnings() as said:
        path = Path(folder) / _UTTERANCE
        path.write_bytes(text.encode())
        try:
            one = _told(path)
            if beam_size is not None and "beam_size" not in one.options:
                raise ConfigError("beam_size is for the format nemo", where="?beam_size", got=one.name)
            lists = one.whole(path, Options(beam_size=beam_size, called=SOURCE))
        except InputError as error:
            where = (error.where or "").replace(str(path), SOURCE) or None
            expected = (error.expected or "").replace("--beam-size", "?beam_size=N") or None
            raise type(error)(error.message, where=where, expected=expected, got=error.got) from None
        said += mistakes(lists)
    full = with_decoder_total(lists)
    order = np.arange(len(full.texts), dtype=np.int64)
    return Converted(one.name, tuple(jsonl_lines(full, order)), tuple(said))


def _told(path: Path) -> Format:
    """The format of a file, by its first line; never one that names other files, as SRILM's may."""
    first = next(((number, line) for number, line in read_lines(path) if line.strip(" \t")), (1, ""))
    for one in FORMATS.values():
        if one.begins is None:
            continue
        if kind_of(first[1]) is not None if one.name == "srilm" else one.begins(first[1]):
            return one
    raise FormatError(
        "n-best lists of an unknown format",
        where=f"{SOURCE}:{first[0]}",
        expected=_expected(),
        got=shorten(first[1]),
    )


def _expected() -> str:
    files = [one for one in FORMATS.values() if one.begins is not None]
    directories = ", ".join(one.name for one in FORMATS.values() if one.begins is None)
    names = ", ".join(f"{one.name} ({one.what})" for one in files)
    return f"{names}; directories ({directories}) go through nbest convert first"


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What readers log in this thread."""
    said: list[str] = []
    thread = threading.get_ident()

    class Taken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                said.append(record.getMessage().removeprefix(f"{SOURCE}: "))

    taken, logger = Taken(logging.WARNING), logging.getLogger("rescoring")
    logger.addHandler(taken)
    try:
        yield said
    finally:
        logger.removeHandler(taken)
