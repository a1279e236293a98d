"""The JSON of ESPnet's rescoring and of mlm-scoring: an object of utterances, one score a hypothesis.

    {"utt": {"ref": "...", "hyp_1": {"score": -70.2, "text": "..."}, "hyp_2": {...}}}

The score is a natural logarithm, larger is better: the feature `score`. Hypotheses come by their number;
other keys are given back. Features that the format has no place for stand under
``features`` of a hypothesis, where these tools do not look; there they are read again.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, InputError, shorten
from nbest.files import STDIO, open_bytes
from rescoring.formats.base import AnyPath, Frame, Options, Rows, Totals, offsets_of
from rescoring.formats.json_members import members
from rescoring.formats.jsonl import (
    parse_features,
    parse_number,
    parse_text,
    parse_typed,
    schema_of_features,
    unknown_keys,
)
from rescoring.formats.notes import Notes
from rescoring.formats.totals import SCORE, one_score
from rescoring.nbest import Feature, NbestLists
from rescoring.text import squeeze

DECODER_SCORE = "decoder_score"  # what was the score before new totals took its place
_KEY = re.compile(r"hyp_([0-9]{1,9})")


class MlmRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    text: str  # as it stood
    other: dict[str, Any]
    other_of_list: dict[str, Any]


class _Utterance(NamedTuple):
    id: str
    texts: tuple[str, ...]
    schema: tuple[Feature, ...]
    values: NDArray[np.float64]  # (n, F)
    references: tuple[str, ...]
    records: tuple[MlmRecord, ...]


def mlm_blocks(path: AnyPath, options: Options, size: int, notes: Notes) -> Iterator[NbestLists]:
    """The utterances in the order of the file, `size` hypotheses or a few more a block."""
    source = options.called or ("<stdin>" if str(path) == STDIO else str(path))
    seen: set[str] = set()
    block: list[_Utterance] = []
    schema: tuple[Feature, ...] | None = None
    has_references: bool | None = None
    with open_bytes(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        try:
            for utterance, value in members(text, source):
                try:
                    if utterance in seen:
                        raise FormatError(f"utterance {shorten(utterance)} stands there twice", where=source)
                    one = _parse(utterance, value, f"{source} /{utterance}", schema)
                    if one is not None and has_references not in (None, bool(one.references)):
                        raise FormatError(
                            "some utterances have a ref and others none",
                            where=f"{source} /{utterance}",
                            expected="a ref" if has_references else "none, as before",
                            got="a ref" if one.references else "none",
                        )
                except InputError as error:
                    if options.aside is None:
                        raise
                    options.aside.add(utterance, source, error)
                    continue
                seen.add(utterance)
                if one is None:
                    notes.add("{n} lists without a hypothesis are left out")
                    continue
                has_references, schema = bool(one.references), one.schema
                block.append(one)
                if sum(len(other.texts) for other in block) >= size:
                    yield _lists(block, source)
                    block = []
        except UnicodeDecodeError as error:
            raise FormatError("invalid UTF-8", where=source, expected="UTF-8 text", got=str(error)) from None
        finally:
            text.detach()
    if block:
        yield _lists(block, source)


def _parse(utterance: str, value: object, at: str, schema: tuple[Feature, ...] | None) -> _Utterance | None:
    content = parse_typed(value, dict, at, "an object with hyp_1, hyp_2, ...")
    numbered = sorted((int(found[1]), key) for key in content if (found := _KEY.fullmatch(key)))
    if not numbered:
        return None
    references = (squeeze(parse_text(content["ref"], f"{at}/ref")),) if "ref" in content else ()
    keys = [key for _, key in numbered]
    other_of_list = unknown_keys(content, ("ref", *keys), at)
    texts: list[str] = []
    rows: list[list[float]] = []
    others: list[tuple[str, dict[str, Any]]] = []
    for key in keys:
        hypothesis = parse_typed(content[key], dict, f"{at}/{key}", "an object")
        text = parse_text(hypothesis.get("text"), f"{at}/{key}/text")
        score = parse_number(hypothesis.get("score"), SCORE, f"{at}/{key}")
        more = parse_typed(hypothesis.get("features", {}), dict, f"{at}/{key}/features", "an object")
        if schema is None:
            schema = (Feature(SCORE), *schema_of_features(more, f"{at}/{key}/features"))
        rows.append([score, *parse_features(more, schema[1:], f"{at}/{key}/features")])
        texts.append(squeeze(text))
        others.append((text, unknown_keys(hypothesis, ("text", "score", "features"), f"{at}/{key}")))
    assert schema is not None
    records = tuple(MlmRecord(text, other, other_of_list) for text, other in others)
    return _Utterance(utterance, tuple(texts), schema, np.array(rows), references, records)


def _lists(block: list[_Utterance], source: str) -> NbestLists:
    return NbestLists(
        ids=tuple(one.id for one in block),
        offsets=offsets_of(len(one.texts) for one in block),
        texts=tuple(text for one in block for text in one.texts),
        schema=block[0].schema,
        features=np.concatenate([one.values for one in block]),  # (N, F)
        records=tuple(record for one in block for record in one.records),
        references=tuple(one.references for one in block) if block[0].references else (),
        source=source,
    )


MLM_FRAME = Frame(b"{\n", b",\n", b"\n}\n")


def mlm_piece(lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> bytes:
    """The utterances, commas between; with totals they are the scores, and the best stands first."""
    entries = []
    for utterance, content in _entries(lists, order, totals, notes):
        entry = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)
        indented = entry.replace("\n", "\n  ")
        entries.append(f"  {json.dumps(utterance, ensure_ascii=False)}: {indented}")
    return ",\n".join(entries).encode()


def _entries(
    lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs (utterance, its object)."""
    name, scores = (None, totals) if totals is not None else one_score(lists, "mlm-scoring's JSON")
    features = [(one.name, lists.columns(one.name)) for one in lists.schema]
    if totals is None and name == SCORE:
        features = [one for one in features if one[0] != SCORE]
    elif any(label == SCORE for label, _ in features):
        notes.say(f"the decoder's score is kept as the feature {DECODER_SCORE}")
        features = [(DECODER_SCORE if label == SCORE else label, columns) for label, columns in features]
    if any(len(several) > 1 for several in lists.references):
        notes.say("only the first reference of each list has a place")
    for segment, utterance in enumerate(lists.ids):
        content: dict[str, Any] = {}
        if lists.references:
            content["ref"] = lists.references[segment][0]
        rows = order[lists.offsets[segment] : lists.offsets[segment + 1]].tolist()
        for rank, row in enumerate(rows, 1):
            record = lists.records[row] if lists.records else None
            known = record if isinstance(record, MlmRecord) else MlmRecord(lists.texts[row], {}, {})
            values = {label: lists.features[row, columns].tolist() for label, columns in features}
            more = {label: one[0] if len(one) == 1 else one for label, one in values.items()}
            content |= known.other_of_list
            content[f"hyp_{rank}"] = {
                "score": float(scores[row]),
                "text": known.text,
                **({"features": more} if more else {}),
                **known.other,
            }
        yield utterance, content
