"""JSON Lines, one list a line, in the shape of the HTTP API; read and written.

    {"id": "...", "hypotheses": [{"text": "...", "features": {"ac": -213.6, "tm": [-5.3, -12.5]}}],
     "references": ["..."]}

Every hypothesis of a file has the same features. Other keys are kept and given back (those not known here are
logged). With new totals each hypothesis carries its `score`, and the best stands first.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, InputError, NonFiniteFeatureError, shorten
from nbest.files import is_text
from rescoring.formats.aside import Aside
from rescoring.formats.base import WHOLE, Lines, offsets_of
from rescoring.formats.json_members import unique_keys
from rescoring.formats.notes import Notes
from rescoring.nbest import Feature, NbestLists
from rescoring.text import squeeze

LIST_KEYS = ("id", "hypotheses", "references")
HYPOTHESIS_KEYS = ("text", "features")
_PLAIN_KEYS = frozenset(HYPOTHESIS_KEYS)
KEPT_KEYS = frozenset({"context", "score", "rank", "index"})  # the API's own: no reader needs a warning


class JsonRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    text: str  # as it stood, before double spaces were taken out
    other: dict[str, Any]  # its other keys
    other_of_list: dict[str, Any]


@dataclass(frozen=True)
class ParsedList:
    """One list: n hypotheses with the features of `schema`."""

    id: str
    texts: tuple[str, ...]
    schema: tuple[Feature, ...]
    values: NDArray[np.float64]  # (n, F)
    references: tuple[str, ...]
    records: tuple[JsonRecord, ...]


def read_jsonl(lines: Lines, source: str, aside: Aside | None = None) -> NbestLists:
    """The lists of numbered `lines`; `source` names them in errors, which carry a JSON pointer too."""
    notes = Notes(source)
    for lists in jsonl_blocks(lines, source, WHOLE, notes, aside):
        notes.log()
        return lists
    raise FormatError("no n-best list in it", where=source, expected="a JSON object a line", got="no lines")


def jsonl_blocks(
    lines: Lines, source: str, size: int, notes: Notes, aside: Aside | None = None
) -> Iterator[NbestLists]:
    """As `read_jsonl`, in blocks of whole lists, `size` hypotheses or a few more each.

    Lines that cannot be read are an error, or go to `aside`.
    """
    parsed: list[ParsedList] = []
    numbers: list[int] = []
    line_of: dict[str, int] = {}
    schema: tuple[Feature, ...] | None = None
    has_references = False
    hypotheses = 0
    for number, line in lines:
        if not line.strip(" \t"):
            continue
        where = f"{source}:{number}"
        content: object = None
        try:
            content = parse_json(line, where)
            one = parse_list(content, f"{where} ", schema)
            if schema is None:
                has_references = bool(one.references)
            if one.id in line_of:
                raise FormatError(
                    f"list id {shorten(one.id)} stands there twice",
                    where=f"{where} /id",
                    got=f"before on line {line_of[one.id]}",
                )
            if bool(one.references) != has_references:
                raise FormatError(
                    "some lists have references and others none",
                    where=f"{where} /references",
                    expected="references" if has_references else "none, as on the lines before",
                    got="references" if one.references else "none",
                )
        except InputError as error:
            if aside is None:
                raise
            name = content.get("id") if isinstance(content, dict) else None
            aside.add(name if isinstance(name, str) else None, source, error)
            continue
        schema = one.schema
        line_of[one.id] = number
        parsed.append(one)
        numbers.append(number)
        hypotheses += len(one.texts)
        if hypotheses >= size:
            yield _lists(parsed, numbers, source, notes)
            parsed, numbers, hypotheses = [], [], 0
    if parsed:
        yield _lists(parsed, numbers, source, notes)


def _lists(parsed: Sequence[ParsedList], numbers: Sequence[int], source: str, notes: Notes) -> NbestLists:
    for name in _strange_keys(parsed):
        notes.add_kept(name)
    counts = [len(one.texts) for one in parsed]
    return NbestLists(
        ids=tuple(one.id for one in parsed),
        offsets=offsets_of(counts),
        texts=tuple(text for one in parsed for text in one.texts),
        schema=parsed[0].schema,
        features=np.concatenate([one.values for one in parsed]),  # (N, F)
        lines=tuple(number for number, count in zip(numbers, counts, strict=True) for _ in range(count)),
        records=tuple(record for one in parsed for record in one.records),
        references=tuple(one.references for one in parsed) if parsed[0].references else (),
        source=source,
    )


def parse_json(line: str, where: str) -> object:
    """The JSON value of a line; repeated keys and lone surrogates are errors, as broken JSON is."""
    if not is_text(line):
        raise FormatError("invalid UTF-8", where=where, expected="UTF-8 text")
    try:
        value = json.loads(line, object_pairs_hook=unique_keys)
        if "\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise FormatError(
            "invalid JSON",
            where=where,
            expected="one JSON object a line",
            got=f"{error.msg} at column {error.colno}",
        ) from None
    except UnicodeEncodeError:
        raise FormatError(
            "a lone surrogate in a string", where=where, expected="whole characters", got=shorten(line)
        ) from None
    except RecursionError:
        raise FormatError("nested too deeply", where=where, expected="a list as documented") from None
    except ValueError as error:  # a repeated key, or an integer of more digits than Python reads
        raise FormatError(
            "invalid JSON", where=where, expected="one JSON object a line", got=str(error)
        ) from None
    return value


def parse_list(value: object, prefix: str, schema: tuple[Feature, ...] | None = None) -> ParsedList:
    """One list from its JSON value; error places are `prefix` and a JSON pointer.

    `schema`, if given, names the features that every hypothesis must have; else the first one sets them.
    """
    one = parse_typed(value, dict, prefix.strip() or "the list", "an object")
    list_id = _string(one.get("id"), f"{prefix}/id")
    if not list_id:
        raise FormatError("the list id is empty", where=f"{prefix}/id", expected="a name")
    hypotheses = parse_typed(one.get("hypotheses"), list, f"{prefix}/hypotheses", "an array")
    if not hypotheses:
        raise FormatError("list without hypotheses", where=f"{prefix}/hypotheses", expected="at least one")
    references: tuple[str, ...] = ()
    if "references" in one:
        given = parse_typed(one["references"], list, f"{prefix}/references", "an array")
        if not given:
            raise FormatError(
                "no references in the array", where=f"{prefix}/references", expected="at least one"
            )
        references = tuple(
            squeeze(parse_text(text, f"{prefix}/references/{k}")) for k, text in enumerate(given)
        )
    other_of_list = unknown_keys(one, LIST_KEYS, prefix)
    plain = _plain(hypotheses, prefix, schema)
    if plain is not None:
        schema, given_texts, values = plain
        kept = tuple(JsonRecord(text, {}, other_of_list) for text in given_texts)
        return ParsedList(list_id, tuple(map(squeeze, given_texts)), schema, values, references, kept)
    texts: list[str] = []
    records: list[JsonRecord] = []
    rows: list[list[float]] = []
    for k, hypothesis in enumerate(hypotheses):
        at = f"{prefix}/hypotheses/{k}"
        content = parse_typed(hypothesis, dict, at, "an object")
        text = parse_text(content.get("text"), f"{at}/text")
        features = parse_typed(content.get("features", {}), dict, f"{at}/features", "an object")
        if schema is None:
            schema = schema_of_features(features, f"{at}/features")
        rows.append(parse_features(features, schema, f"{at}/features"))
        texts.append(squeeze(text))
        records.append(JsonRecord(text, unknown_keys(content, HYPOTHESIS_KEYS, at), other_of_list))
    assert schema is not None
    width = sum(feature.width for feature in schema)
    values = np.array(rows, dtype=np.float64).reshape(len(rows), width)  # (n, F)
    return ParsedList(list_id, tuple(texts), schema, values, references, tuple(records))


def _plain(
    hypotheses: list[Any], prefix: str, schema: tuple[Feature, ...] | None
) -> tuple[tuple[Feature, ...], list[str], NDArray[np.float64]] | None:
    """(schema, texts, values (n, F)) of hypotheses of a text and the same finite floats each, as usual.

    None for any others: they are read one by one, which says what is wrong with them.
    """
    if set(map(type, hypotheses)) != {dict} or any(one.keys() != _PLAIN_KEYS for one in hypotheses):
        return None
    texts = [one["text"] for one in hypotheses]
    features = [one["features"] for one in hypotheses]
    if set(map(type, texts)) != {str} or set(map(type, features)) != {dict}:
        return None
    together = "".join(texts)
    if "\n" in together or "\r" in together:
        return None
    if schema is None:
        schema = schema_of_features(features[0], f"{prefix}/hypotheses/0/features")
    names = {feature.name for feature in schema}
    if any(one.keys() != names for one in features):
        return None
    values = np.empty((len(texts), sum(feature.width for feature in schema)))
    start = 0
    for feature in schema:
        column = [one[feature.name] for one in features]
        if set(map(type, column)) == {list}:
            if set(map(len, column)) != {feature.width}:
                return None
            column = [number for numbers in column for number in numbers]
        if len(column) != len(texts) * feature.width or set(map(type, column)) != {float}:
            return None
        values[:, start : start + feature.width] = np.array(column).reshape(len(texts), feature.width)
        start += feature.width
    return (schema, texts, values) if np.isfinite(values).all() else None


def schema_of_features(features: dict[str, Any], where: str) -> tuple[Feature, ...]:
    """The features of a hypothesis' ``features``, in their order."""
    found = []
    for name, value in features.items():
        if not name:
            raise FormatError("a feature without a name", where=where, expected="a name", got="''")
        if isinstance(value, list) and not value:
            raise FormatError("a feature without values", where=f"{where}/{_escaped(name)}", got="[]")
        found.append(Feature(name, len(value) if isinstance(value, list) else 1))
    return tuple(found)


def parse_features(features: dict[str, Any], schema: Sequence[Feature], where: str) -> list[float]:
    """The numbers of one hypothesis in the order of `schema`."""
    if len(features) != len(schema) or any(feature.name not in features for feature in schema):
        raise FeatureError(
            "other features than the first hypothesis",
            where=where,
            expected=", ".join(sorted(feature.name for feature in schema)) or "none",
            got=", ".join(sorted(features)) or "none",
        )
    values: list[float] = []
    for feature in schema:
        given = features[feature.name]
        numbers = given if isinstance(given, list) else [given]
        if len(numbers) != feature.width:
            raise FeatureError(
                f"feature {feature.name} has another number of values than in the first hypothesis",
                where=f"{where}/{_escaped(feature.name)}",
                expected=str(feature.width),
                got=str(len(numbers)),
            )
        values.extend(parse_number(number, feature.name, where) for number in numbers)
    return values


def parse_number(value: object, name: str, where: str) -> float:
    """The finite value of feature `name`."""
    where = f"{where}/{_escaped(name)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(
            f"feature {name} is not a number",
            where=where,
            expected="a number",
            got=shorten(json.dumps(value)),
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NonFiniteFeatureError(
            f"feature {name} is not finite", where=where, expected="a finite number", got=str(number)
        )
    return number


def unknown_keys(content: dict[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """What stands beside the known keys and will be given back: that has to be JSON, and NaN is not."""
    other = {key: value for key, value in content.items() if key not in known}
    for key, value in other.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise NonFiniteFeatureError(
                "a number is not finite",
                where=f"{where}/{_escaped(key)}",
                expected="finite numbers",
                got=shorten(json.dumps(value)),
            ) from None
    return other


def parse_typed(value: object, kind: type, where: str, expected: str) -> Any:
    """`value`, if it is of this type."""
    if not isinstance(value, kind):
        got = "nothing" if value is None else shorten(json.dumps(value, ensure_ascii=False))
        raise FormatError("wrong type", where=where, expected=expected, got=got)
    return value


def _string(value: object, where: str) -> str:
    text: str = parse_typed(value, str, where, "a string")
    return text


def parse_text(value: object, where: str) -> str:
    """A string of one line."""
    text = _string(value, where)
    if "\n" in text or "\r" in text:
        raise FormatError("a line break in a text", where=where, expected="one line", got=shorten(text))
    return text


def _escaped(name: str) -> str:
    """`name` as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _strange_keys(parsed: Sequence[ParsedList]) -> set[str]:
    names = {key for one in parsed for record in one.records[:1] for key in record.other_of_list}
    names |= {key for one in parsed for record in one.records for key in record.other}
    return names - KEPT_KEYS


def jsonl_lines(
    lists: NbestLists,
    order: NDArray[np.int64],
    totals: NDArray[np.float64] | None = None,
    _notes: Notes | None = None,
) -> Iterator[str]:
    """One object a list, its hypotheses in the row order `order` (N,); `totals` (N,) become their `score`."""
    slices = [(feature.name, feature.width, lists.columns(feature.name).start) for feature in lists.schema]
    for segment in range(len(lists)):
        rows = [int(row) for row in order[lists.offsets[segment] : lists.offsets[segment + 1]]]
        one: dict[str, Any] = {"id": lists.ids[segment], "hypotheses": []}
        other: dict[str, Any] = {}
        for row in rows:
            record = lists.records[row] if lists.records else None
            known = record if isinstance(record, JsonRecord) else JsonRecord(lists.texts[row], {}, {})
            values = lists.features[row].tolist()
            features = {
                name: values[start] if width == 1 else values[start : start + width]
                for name, width, start in slices
            }
            hypothesis = {"text": known.text, "features": features, **known.other}
            if totals is not None:
                hypothesis["score"] = float(totals[row])
            one["hypotheses"].append(hypothesis)
            other = known.other_of_list
        if lists.references:
            one["references"] = list(lists.references[segment])
        yield json.dumps({**one, **other}, ensure_ascii=False, allow_nan=False)


def best_object(list_id: str, text: str) -> str:
    """``{"id": ..., "text": ...}``."""
    return json.dumps({"id": list_id, "text": text}, ensure_ascii=False)
