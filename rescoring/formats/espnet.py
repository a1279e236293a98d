"""ESPnet2's decoding output: `output.J/{k}best_recog/{text,score,token,...}`, read and written.

A line is ``utterance value``; `score` is the weighted sum that the beam search ranked by, as Python or torch
prints it (``-3.5``, ``tensor(-3.5, device='cuda:0')``). The place may be the decoding directory, its
`logdir`, or one `output.J`. Other tables (token, token_int, ...) are given back; `score.NAME` is a feature of
ours.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbest.errors import FormatError, InputError, NotFoundError, shorten
from nbest.files import read_lines, write_whole_directory
from rescoring.formats.aside import Aside
from rescoring.formats.base import AnyPath, Rows, Totals, Write, offsets_of
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import decimal, finite
from rescoring.formats.scalars import scalar_features
from rescoring.formats.totals import SCORE, one_score
from rescoring.nbest import Feature, NbestLists
from rescoring.text import squeeze

ESPNET_NAMES = ("output.*",)  # all that such a directory of ours holds
DECODER_SCORE = "decoder_score"
_TENSOR = re.compile(r"tensor\(([^,()]+)(?:,[^()]*)?\)")
_RANK = re.compile(r"([1-9][0-9]{0,5})best_recog")
_JOB = re.compile(r"output\.([0-9]{1,6})")
_EXTRA = "score."


class EspnetRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    job: int
    score: str  # as it stood
    text: str
    others: tuple[tuple[str, str], ...]  # (table, value) of the tables that mean nothing here


def is_espnet_directory(path: Path) -> bool:
    """Whether there are decoding outputs at `path`."""
    return bool(_jobs(path))


def _jobs(path: Path) -> list[tuple[int, Path]]:
    """(J, its folder) of each job; a single one is job 1."""
    for place in (path, path / "logdir"):
        if not place.is_dir():
            continue
        found = [(int(match[1]), one) for one in place.iterdir() if (match := _JOB.fullmatch(one.name))]
        found = [(job, one) for job, one in found if _ranks(one)]
        if found:
            return sorted(found)
    return [(1, path)] if path.is_dir() and _ranks(path) else []


def _ranks(path: Path) -> list[tuple[int, Path]]:
    if not path.is_dir():
        return []
    return sorted((int(match[1]), one) for one in path.iterdir() if (match := _RANK.fullmatch(one.name)))


def espnet_blocks(path: AnyPath, size: int, notes: Notes, aside: Aside | None = None) -> Iterator[NbestLists]:
    """The utterances job by job, in the order of their best hypotheses; blocks of whole jobs.

    An utterance whose scores are no numbers is an error, or goes to `aside`.
    """
    root = Path(path)
    jobs = _jobs(root)
    if not jobs:
        raise NotFoundError(
            "no decoding output here", where=str(root), expected="output.1/1best_recog/text, ..."
        )
    job_of: dict[str, int] = {}
    lists: list[_Utterance] = []
    schema: tuple[Feature, ...] | None = None
    for job, folder in jobs:
        for one in _read_job(job, folder, aside):
            if job_of.setdefault(one.name, job) != job:
                raise FormatError(
                    f"utterance {one.name} stands in two jobs",
                    where=str(folder),
                    expected=f"output.{job_of[one.name]} only",
                )
            if schema is not None and one.schema != schema:
                raise FormatError(
                    "another set of scores than before",
                    where=f"{folder}, {one.name}",
                    expected=", ".join(feature.name for feature in schema),
                    got=", ".join(feature.name for feature in one.schema),
                )
            schema = one.schema
            lists.append(one)
        if sum(len(one.records) for one in lists) >= size:
            yield _columns(lists, str(root))
            lists = []
    if lists:
        yield _columns(lists, str(root))


class _Utterance(NamedTuple):
    name: str
    schema: tuple[Feature, ...]
    rows: list[list[float]]  # n x F
    records: list[EspnetRecord]


def _read_job(job: int, folder: Path, aside: Aside | None) -> list[_Utterance]:
    found: dict[str, _Utterance] = {}
    faults: dict[str, InputError] = {}
    for rank, place in _ranks(folder):
        tables = {one.name: _table(one) for one in sorted(place.iterdir()) if one.is_file()}
        texts = tables.pop("text", None)
        scores = tables.pop(SCORE, None)
        if texts is None:
            raise NotFoundError("no texts", where=str(place), expected="text")
        if scores is not None and scores.keys() != texts.keys():
            raise FormatError(
                "text and score have different utterances",
                where=str(place),
                expected=f"{len(texts)}, as in text",
                got=f"{len(scores)}",
            )
        more = sorted(name for name in tables if name.startswith(_EXTRA))
        schema = tuple(
            Feature(name)
            for name in [
                *([SCORE] if scores is not None else []),
                *(one.removeprefix(_EXTRA) for one in more),
            ]
        )
        for name, text in texts.items():
            one = found.setdefault(name, _Utterance(name, schema, [], []))
            if len(one.records) != rank - 1 or one.schema != schema:
                expected = f"{len(one.records) + 1}best first" if one.schema == schema else "the same tables"
                raise FormatError(
                    f"utterance {name} does not go on from rank {len(one.records)}",
                    where=str(place),
                    expected=expected,
                    got=f"{rank}best",
                )
            row: list[float] = []
            try:
                row += [] if scores is None else [_score(scores[name], place / SCORE, name)]
                row += [_extra(tables[table], name, place / table) for table in more]
            except InputError as error:
                if aside is None:
                    raise
                faults.setdefault(name, error)
            others = [
                (table, values[name])
                for table, values in tables.items()
                if table not in more and name in values
            ]
            one.rows.append(row)
            one.records.append(EspnetRecord(job, "" if scores is None else scores[name], text, tuple(others)))
    for name, fault in faults.items():
        if aside is not None:
            aside.add(name, str(folder), fault)
        del found[name]
    return list(found.values())


def _extra(values: dict[str, str], name: str, path: Path) -> float:
    if name not in values:
        raise FormatError(f"no value of {name}", where=str(path), expected="one for each utterance of text")
    return finite(values[name].strip(" "), f"the value of {name}", str(path))


def _table(path: Path) -> dict[str, str]:
    """Values by utterance, as they stand."""
    values: dict[str, str] = {}
    for number, line in read_lines(path):
        key, _, value = line.replace("\t", " ", 1).partition(" ")
        if not key:
            raise FormatError("line without an utterance", where=f"{path}:{number}", expected="'utt value'")
        if key in values:
            raise FormatError(f"utterance {key} stands there twice", where=f"{path}:{number}")
        values[key] = value
    return values


def _score(text: str, path: Path, utterance: str) -> float:
    tensor = _TENSOR.fullmatch(text.strip(" "))
    return finite(tensor[1].strip(" ") if tensor else text.strip(" "), f"the score of {utterance}", str(path))


def _columns(lists: Sequence[_Utterance], source: str) -> NbestLists:
    schema = lists[0].schema
    count = sum(len(one.records) for one in lists)
    features = np.array([row for one in lists for row in one.rows], dtype=np.float64)
    return NbestLists(
        ids=tuple(one.name for one in lists),
        offsets=offsets_of(len(one.records) for one in lists),
        texts=tuple(squeeze(record.text) for one in lists for record in one.records),
        schema=schema,
        features=features.reshape(count, len(schema)),  # (N, F)
        records=tuple(record for one in lists for record in one.records),
        source=source,
    )


@contextmanager
def open_espnet(path: AnyPath) -> Iterator[Write]:
    """A directory of `output.J` that takes lists block by block, written whole or not at all.

    With totals, `1best_recog` is the new best and `score` the total; the decoder's score goes to
    `score.decoder_score`, as every other feature to `score.NAME`.
    """
    notes = Notes(os.fspath(path))
    with write_whole_directory(path, replaces=ESPNET_NAMES) as fresh:

        def write(lists: NbestLists, order: Rows, totals: Totals | None = None) -> None:
            espnet_files(fresh, lists, order, totals, notes)

        yield write
    notes.log()


def espnet_files(fresh: Path, lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> None:
    """The files of some lists, of whole jobs, put into the directory `fresh`."""
    lists = scalar_features(lists, notes)
    name: str | None = None
    scores = totals
    if totals is None and lists.schema:
        name, scores = one_score(lists, "ESPnet's output")
    columns = {feature.name: lists.feature(feature.name)[:, 0] for feature in lists.schema}
    if name == SCORE:
        del columns[SCORE]
    elif SCORE in columns:
        notes.say(f"the decoder's score is kept as {_EXTRA}{DECODER_SCORE}")
        columns[DECODER_SCORE] = columns.pop(SCORE)
    for feature in columns:
        if not re.fullmatch(r"[^\s/]+", feature):
            raise FormatError(
                "a feature name that cannot be a file's", where=lists.source, got=shorten(feature)
            )
    tables: dict[Path, list[str]] = {}
    for segment, utterance in enumerate(lists.ids):
        if not utterance or re.search(r"\s", utterance):
            raise FormatError(
                "an ESPnet key holds no white space", where=lists.source, got=shorten(utterance)
            )
        rows = order[lists.offsets[segment] : lists.offsets[segment + 1]].tolist()
        for rank, row in enumerate(rows, 1):
            record = lists.records[row] if lists.records else None
            known = record if isinstance(record, EspnetRecord) else EspnetRecord(1, "", lists.texts[row], ())
            values = {"text": known.text, **dict(known.others)}
            if scores is not None:
                kept = totals is None and known.score
                values[SCORE] = known.score if kept else decimal(float(scores[row]))
            values |= {f"{_EXTRA}{feature}": decimal(numbers[row]) for feature, numbers in columns.items()}
            folder = fresh / f"output.{known.job}" / f"{rank}best_recog"
            for table, value in values.items():
                tables.setdefault(folder / table, []).append(f"{utterance} {value}\n")
    for target, lines in tables.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as stream:
            stream.writelines(line.encode() for line in lines)
