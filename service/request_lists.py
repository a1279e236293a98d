"""The lists of a request, each read on its own: what is wrong with one harms that one only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbest.errors import FormatError, InputError, LimitError, shorten
from rescoring.formats.jsonl import KEPT_KEYS, JsonRecord, ParsedList, parse_list
from rescoring.nbest import NbestLists
from service.errors import pointer


@dataclass(frozen=True)
class RequestList:
    """One list of a request: its columns (S = 1), or what is wrong with it."""

    id: str | None  # None where the list has no id that could be read
    content: NbestLists | InputError


def read_lists(raw: Sequence[object], max_text_bytes: int, max_features: int) -> list[RequestList]:
    """Every list of the request, in its order; of two with one id the later one is wrong."""
    seen: dict[str, int] = {}
    results: list[RequestList] = []
    for position, value in enumerate(raw):
        at = pointer(["lists", position])
        try:
            _check_width(value, at, max_features)
            parsed = parse_list(value, at)
            _check(parsed, at, max_text_bytes)
            first = seen.setdefault(parsed.id, position)
            if first != position:
                raise FormatError(
                    f"the list id stands twice in the request, first at /lists/{first}",
                    where=f"{at}/id",
                    expected="each id once",
                    got=shorten(parsed.id),
                )
            results.append(RequestList(parsed.id, _columns(parsed, at)))
        except RecursionError:
            error = FormatError("nested too deeply", where=at, expected="a list as documented")
            results.append(RequestList(_readable_id(value), error))
        except InputError as error:
            results.append(RequestList(_readable_id(value), error))
    return results


def _check_width(value: Any, at: str, max_features: int) -> None:
    """Raises LimitError for a first hypothesis of too many values; another of more is refused for that."""
    try:
        features = value["hypotheses"][0]["features"]
        width = sum(len(values) if isinstance(values, list) else 1 for values in features.values())
    except (TypeError, LookupError, AttributeError):
        return  # of another shape than it should be: its reader knows the words
    check_width(width, f"{at}/hypotheses/0/features", max_features)


def check_count(what: str, where: str | None, count: int, limit: int) -> None:
    """Raises LimitError where there is more of something than that."""
    if count > limit:
        raise LimitError(f"too many {what}", where=where, expected=f"at most {limit}", got=f"{count}")


def check_width(width: int, where: str, max_features: int) -> None:
    """Raises LimitError where a hypothesis has more feature values than that."""
    check_count("feature values", where, width, max_features)


def _columns(parsed: ParsedList, at: str) -> NbestLists:
    return NbestLists(
        ids=(parsed.id,),
        offsets=np.array([0, len(parsed.texts)], dtype=np.int64),
        texts=parsed.texts,
        schema=parsed.schema,
        features=parsed.values,
        records=parsed.records,
        references=(parsed.references,) if parsed.references else (),
        source=at,
    )


def _check(parsed: ParsedList, at: str, max_text_bytes: int) -> None:
    """Raises for what a file may hold but a request may not."""
    of_list = parsed.records[0].other_of_list
    _check_keys(of_list, at)
    _check_context(of_list.get("context", []), f"{at}/context", max_text_bytes)
    for row, record in enumerate(parsed.records):
        _check_keys(record.other, f"{at}/hypotheses/{row}")
        check_text(record.text, f"{at}/hypotheses/{row}/text", max_text_bytes)
    check_unicode(parsed.id, f"{at}/id")
    for feature in parsed.schema:
        check_unicode(feature.name, f"{at}/hypotheses/0/features")


def _check_context(context: object, at: str, max_text_bytes: int) -> None:
    if not isinstance(context, list) or not all(isinstance(text, str) for text in context):
        raise FormatError("no context", where=at, expected="a list of texts", got=shorten(repr(context)))
    for place, text in enumerate(context):
        check_text(text, f"{at}/{place}", max_text_bytes)
    check_text(" ".join(context), at, max_text_bytes)


def _check_keys(others: Mapping[str, object], at: str) -> None:
    for key in others:
        if key not in KEPT_KEYS:
            where = f"{at}{pointer([key])}"
            raise FormatError("unknown field", where=where, expected="a documented one", got=shorten(key))


def context_of(lists: NbestLists) -> tuple[str, ...]:
    """The texts before those of a list of a request; of lists from elsewhere there are none."""
    record = lists.records[0] if lists.records else None
    return tuple(record.other_of_list.get("context", ())) if isinstance(record, JsonRecord) else ()


def _readable_id(value: object) -> str | None:
    found = value.get("id") if isinstance(value, dict) else None
    try:
        return found if isinstance(found, str) and found.encode() else None
    except UnicodeEncodeError:
        return None


def check_unicode(text: str, where: str) -> None:
    """Raises FormatError for a lone surrogate, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormatError(
            "a lone surrogate is no character", where=where, expected="Unicode text", got=shorten(text)
        ) from None


def check_text(text: str, where: str, max_text_bytes: int) -> None:
    """Raises unless `text` is one line of Unicode and of bearable length."""
    if "\n" in text or "\r" in text:
        raise FormatError("a line break in a text", where=where, expected="one line", got=shorten(text))
    check_unicode(text, where)
    size = len(text.encode())
    if size > max_text_bytes:
        raise LimitError(
            "the text is too long", where=where, expected=f"at most {max_text_bytes} bytes", got=f"{size}"
        )
