"""What `nbest evaluate` can evaluate: text, Kaldi text, JSON Lines of either kind, n-best lists."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nbest.errors import ConfigError, FormatError, NotFoundError, shorten
from nbest.files import STDIO, read_lines
from rescoring.evaluation import read_pairs
from rescoring.formats import format_at, read_nbest
from rescoring.formats.fairseq import begins_fairseq
from rescoring.formats.jsonl import parse_json
from rescoring.formats.references import numbered_files, read_references
from rescoring.formats.srilm_lines import HEADERS
from rescoring.nbest import NbestLists

TEXT_STYLES = ("lines", "kaldi-text")


@dataclass(frozen=True)
class Output:
    """S hypotheses with ids and references; the lists they came from, where they did; what was assumed."""

    ids: Sequence[str]
    hypotheses: Sequence[str]
    references: Sequence[Sequence[str]]
    lists: NbestLists | None
    read_as: str


def read_output(
    path: str,
    references: Sequence[str],
    given: str | None,
    words_txt: str | None = None,
    beam_size: int | None = None,
) -> Output:
    """The output at `path` in the format `given`, or told from its content; `words_txt` as Kaldi's ids need.

    N-best lists are evaluated as they stand: the first hypothesis of each.
    """
    kind = given or _kind(path)
    references = [os.fspath(one) for one in numbered_files(references)]
    if words_txt is not None and kind != "kaldi":
        raise ConfigError("word ids are Kaldi's", where="--words", expected="an n-best directory", got=path)
    if kind in TEXT_STYLES or kind == "text":
        style = {"lines": "lines", "kaldi-text": "kaldi", "text": None}[kind]
        pairs = read_pairs(path, references, style)  # type: ignore[arg-type]
        read_as = "Kaldi text, by utterance" if pairs.style == "kaldi" else "text, line by line"
        return Output(pairs.ids, pairs.hypotheses, pairs.references, None, read_as)
    if kind == "jsonl-text":
        lists = _json_texts(path)
        found = read_references(references, lists)
        return Output(lists.ids, lists.texts, found, None, "JSON Lines with one text each")
    lists = read_nbest(path, kind, words_txt=words_txt, beam_size=beam_size)
    texts = [lists.texts[row] for row in lists.offsets[:-1].tolist()]
    found = read_references(references, lists)
    return Output(lists.ids, texts, found, lists, f"{kind} lists, the first of each")


def in_order_of(first: Output, other: Output) -> Output:
    """The other output with its segments in the order of the first, where they have the same ids."""
    places = {one: place for place, one in enumerate(other.ids)}
    if tuple(first.ids) == tuple(other.ids) or places.keys() != set(first.ids):
        return other  # of other ids: whether the references are the same decides
    order = [places[one] for one in first.ids]
    return replace(
        other,
        ids=first.ids,
        hypotheses=[other.hypotheses[place] for place in order],
        references=[other.references[place] for place in order],
    )


def _kind(path: str) -> str:
    if path != STDIO and Path(path).is_dir():
        return format_at(path)
    if path == STDIO:
        return "text"  # standard input can be read once only
    if not Path(path).exists():
        raise NotFoundError("no such file", where=path)
    first = next((line for _, line in read_lines(path) if line.strip(" \t")), "")
    if first.lstrip(" \t").startswith("{"):
        return "jsonl-text" if '"hypotheses"' not in first and format_at(path) == "jsonl" else format_at(path)
    if first.count("|||") >= 3 or first.strip(" \t") in HEADERS or begins_fairseq(first):
        return format_at(path)
    return "text"


def _json_texts(path: str) -> NbestLists:
    """Lines ``{"id": ..., "text": ...}``, as `nbest rescore --one-best` writes them: lists of one."""
    ids: list[str] = []
    texts: list[str] = []
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        content = parse_json(line, where)
        fields = [content.get(name) if isinstance(content, dict) else None for name in ("id", "text")]
        if not all(isinstance(field, str) for field in fields):
            raise FormatError(
                "no text of a list", where=where, expected='{"id": ..., "text": ...}', got=shorten(line)
            )
        ids.append(str(fields[0]))
        texts.append(str(fields[1]))
    return NbestLists(
        ids=tuple(ids),
        offsets=np.arange(len(ids) + 1, dtype=np.int64),
        texts=tuple(texts),
        schema=(),
        features=np.zeros((len(ids), 0)),
        lines=tuple(range(1, len(ids) + 1)),
        source=path,
    )
