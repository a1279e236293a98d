"""Kaldi n-best directories, read: ``num_jobs``, ``archives.J/{words_text,acwt,lmwt.*}``.

Kaldi keeps costs; here every feature is a log-probability, so values are negated on the way in and out.
Names: `ac` is ``acwt`` (acoustic, unscaled), every other feature is the part after ``lmwt.``.

Read by default: `ac`; `lmonly` and every other ``lmwt.*`` except those that are sums or mixtures of others
(`withlm`, `interp.*`); `nolm` (the graph without LM) unless it is 0 everywhere. Where there is no `lmonly`,
`withlm` stands in for it. `columns` chooses otherwise: names, or ``all``.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FeatureError, FormatError, InputError, NotFoundError, shorten
from rescoring.formats.aside import Aside
from rescoring.formats.base import WHOLE, offsets_of
from rescoring.formats.kaldi_tables import read_costs, read_int_vectors, read_symbols, read_texts
from rescoring.nbest import Feature, NbestLists

ACOUSTIC = "ac"
GRAPH = "nolm"
ALL = "all"
_SUM, _MIXTURE, _OLD_LM = "withlm", "interp.", "lmonly"


class KaldiRecord(NamedTuple):
    """What the writer needs of one hypothesis."""

    key: str  # utterance-rank
    archive: int  # the J of archives.J
    position: int  # of its line in the tables of that archive
    own_features: frozenset[str]  # of the whole directory, as read


def is_kaldi_directory(path: Path) -> bool:
    """Whether there is an n-best directory at `path`."""
    return path.is_dir() and ((path / "num_jobs").exists() or bool(_numbers(path)))


def read_kaldi(
    directory: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    words_txt: str | os.PathLike[str] | None = None,
) -> NbestLists:
    """The lists of an n-best directory, utterances in the order of the archives, ranks rising.

    `columns` names the features (``["all"]`` takes every one); `words_txt` is needed where an archive has
    `words` (ids) but no `words_text`. Raises FormatError, FeatureError or NotFoundError naming the file.
    """
    (lists,) = kaldi_blocks(directory, WHOLE, columns=columns, words_txt=words_txt)
    return lists


def kaldi_blocks(
    directory: str | os.PathLike[str],
    size: int,
    *,
    columns: Sequence[str] | None = None,
    words_txt: str | os.PathLike[str] | None = None,
    aside: Aside | None = None,
) -> Iterator[NbestLists]:
    """As `read_kaldi`, in blocks of whole archives, `size` hypotheses or more each.

    An utterance without a value, or with one that is no number, is an error, or goes to `aside`.
    """
    root = Path(directory)
    archives = archive_numbers(root)
    names = _available(root, archives)
    chosen = _chosen(names, columns, root)
    if columns is None and GRAPH in chosen and _is_zero(root, archives, GRAPH):
        chosen.remove(GRAPH)
    symbols = None if words_txt is None else read_symbols(words_txt)
    archive_of: dict[str, int] = {}
    hypotheses: list[tuple[str, str]] = []  # (key, text)
    places: list[tuple[int, int]] = []  # (archive, position)
    tables: list[NDArray[np.float64]] = []
    found = 0
    for archive in archives:
        folder = root / f"archives.{archive}"
        texts = _texts(folder, symbols)
        keys = [key for key, _ in texts]
        faults: dict[str, InputError] | None = None if aside is None else {}
        columns_read = np.array([_column(folder, name, keys, faults) for name in chosen])  # (F, n)
        table = columns_read.reshape(len(chosen), len(keys)).T  # (n, F)
        kept = list(range(len(texts)))
        if aside is not None and faults:
            kept = _without(keys, faults, folder, aside)
        hypotheses += [texts[row] for row in kept]
        places += [(archive, row) for row in kept]
        tables.append(table[kept])
        found += len(kept)
        if len(hypotheses) >= size:
            yield _lists(root, hypotheses, places, chosen, np.concatenate(tables), archive_of)
            hypotheses, places, tables = [], [], []
    if hypotheses:
        yield _lists(root, hypotheses, places, chosen, np.concatenate(tables), archive_of)
    if not found and not (aside and aside.failures):
        raise FormatError("no n-best list in it", where=str(root), expected="utterance-rank keys", got="none")


def _without(keys: Sequence[str], faults: dict[str, InputError], folder: Path, aside: Aside) -> list[int]:
    """The rows of utterances that have no fault; the others are set aside."""
    of_utterance: dict[str, InputError] = {}
    for key in (key for key in keys if key in faults):
        of_utterance.setdefault(key.rpartition("-")[0], faults[key])
    for utterance, error in of_utterance.items():
        aside.add(utterance, str(folder), error)
    return [row for row, key in enumerate(keys) if key.rpartition("-")[0] not in of_utterance]


def _is_zero(root: Path, archives: Sequence[int], name: str) -> bool:
    """Whether a table is 0 on every line of every archive; what is no number is not 0."""
    tables = (read_costs(root / f"archives.{archive}" / table_name(name), {})[1] for archive in archives)
    return not any(table.any() for table in tables)


def _lists(
    root: Path,
    hypotheses: Sequence[tuple[str, str]],
    places: Sequence[tuple[int, int]],
    names: Sequence[str],
    features: NDArray[np.float64],
    archive_of: dict[str, int],
) -> NbestLists:
    """`archive_of` goes on from block to block: an utterance stands in one archive only."""
    ids: dict[str, int] = {}
    rows: dict[str, int] = {}
    utterances: list[int] = []
    ranks: list[int] = []
    for row, ((key, _), (archive, _)) in enumerate(zip(hypotheses, places, strict=True)):
        utterance, _, rank = key.rpartition("-")
        if not utterance or not (rank.isascii() and rank.isdigit() and len(rank) <= 9) or int(rank) < 1:
            raise FormatError(
                "the key is not an utterance and a rank",
                where=_where(root, places[row]),
                expected="'utterance-rank', ranks from 1",
                got=shorten(key),
            )
        if rows.setdefault(key, row) != row:
            raise FormatError(
                f"key {key} stands there twice",
                where=_where(root, places[row]),
                got=f"before at {_where(root, places[rows[key]])}",
            )
        if archive_of.setdefault(utterance, archive) != archive:
            raise FormatError(
                f"utterance {utterance} stands in two archives",
                where=_where(root, places[row]),
                expected=f"archives.{archive_of[utterance]} only",
                got=f"archives.{archive} too",
            )
        utterances.append(ids.setdefault(utterance, len(ids)))
        ranks.append(int(rank))
    order = np.lexsort((np.array(ranks), np.array(utterances)))  # by utterance, then rank
    own = frozenset(names)
    return NbestLists(
        ids=tuple(ids),
        offsets=offsets_of(np.bincount(utterances)),
        texts=tuple(hypotheses[row][1] for row in order),
        schema=tuple(Feature(name) for name in names),
        features=features[order],
        records=tuple(KaldiRecord(hypotheses[row][0], places[row][0], places[row][1], own) for row in order),
        source=str(root),
    )


def _where(root: Path, place: tuple[int, int]) -> str:
    archive, position = place
    return f"{root / f'archives.{archive}'}, hypothesis {position + 1}"


def _numbers(root: Path) -> list[int]:
    found = (re.fullmatch(r"archives\.([0-9]{1,9})", path.name) for path in root.iterdir())
    return sorted(int(match[1]) for match in found if match)


def archive_numbers(root: Path) -> list[int]:
    """The J of every archives.J, checked against num_jobs."""
    if not root.is_dir():
        raise NotFoundError("no such directory", where=str(root))
    numbers = _numbers(root)
    jobs = root / "num_jobs"
    if jobs.exists():
        text = jobs.read_bytes().decode("ascii", "replace").strip()
        if not (text.isdigit() and len(text) <= 9):
            raise FormatError(
                "not a number of jobs", where=f"{jobs}:1", expected="an integer", got=shorten(text)
            )
        if len(numbers) != int(text) or numbers != list(range(1, len(numbers) + 1)):
            raise FormatError(
                "num_jobs and the archives disagree",
                where=str(root),
                expected=f"archives.1 to archives.{text}",
                got=", ".join(f"archives.{number}" for number in numbers) or "none",
            )
    if not numbers:
        raise FormatError("no n-best directory", where=str(root), expected="archives.1, archives.2, ...")
    return numbers


def table_name(feature: str) -> str:
    """The file of a feature in each archive."""
    return "acwt" if feature == ACOUSTIC else f"lmwt.{feature}"


def _available(root: Path, archives: Sequence[int]) -> list[str]:
    """Feature names of the directory: the same in each archive."""
    found: dict[int, list[str]] = {}
    for archive in archives:
        files = sorted(path.name for path in (root / f"archives.{archive}").iterdir())
        found[archive] = [ACOUSTIC] * ("acwt" in files)
        found[archive] += [name.removeprefix("lmwt.") for name in files if name.startswith("lmwt.")]
        if found[archive] != found[archives[0]]:
            raise FeatureError(
                "archives hold different features",
                where=str(root / f"archives.{archive}"),
                expected=f"{', '.join(found[archives[0]])} as in archives.{archives[0]}",
                got=", ".join(found[archive]) or "none",
            )
    return found[archives[0]]


def _chosen(names: Sequence[str], columns: Sequence[str] | None, root: Path) -> list[str]:
    if columns is None:
        return [
            name for name in names if not name.startswith(_MIXTURE) and (name != _SUM or _OLD_LM not in names)
        ]
    if list(columns) == [ALL]:
        return list(names)
    for name in columns:
        if name not in names:
            raise FeatureError(
                f"unknown column {name!r}", where=str(root), expected=f"one of {', '.join(names)}, or {ALL}"
            )
    if len(set(columns)) < len(columns):
        raise ConfigError("a column is chosen twice", where=str(root), got=", ".join(columns))
    return list(columns)


def left_out(lists: NbestLists) -> list[tuple[str, str]]:
    """(table, why) of each table of costs that was not read by default; none for lists from elsewhere."""
    record = lists.records[0] if lists.records else None
    if not isinstance(record, KaldiRecord):
        return []
    root = Path(lists.source)
    names = _available(root, archive_numbers(root))
    return [(table_name(name), _reason(name)) for name in names if name not in record.own_features]


def _reason(name: str) -> str:
    if name == _SUM:
        return f"a sum; {_OLD_LM} is read"
    if name.startswith(_MIXTURE):
        return "a mixture of others"
    return "0 everywhere" if name == GRAPH else "not chosen"


def _texts(folder: Path, symbols: dict[int, str] | None) -> list[tuple[str, str]]:
    if (folder / "words_text").exists():
        return read_texts(folder / "words_text")
    if not (folder / "words").exists():
        raise NotFoundError(
            "no hypotheses in this archive", where=str(folder), expected="words_text or words"
        )
    if symbols is None:
        raise ConfigError(
            "only word ids in this archive",
            where=str(folder / "words"),
            expected="a words.txt to read them with (--words)",
        )
    texts: list[tuple[str, str]] = []
    for key, numbers in read_int_vectors(folder / "words"):
        unknown = [number for number in numbers if number not in symbols]
        if unknown:
            raise FormatError(
                f"{key}: word id {unknown[0]} is unknown",
                where=str(folder / "words"),
                expected=f"one of the {len(symbols)} ids of words.txt",
            )
        texts.append((key, " ".join(symbols[number] for number in numbers)))
    return texts


def _column(
    folder: Path, name: str, keys: Sequence[str], faults: dict[str, InputError] | None
) -> NDArray[np.float64]:
    """(n,) log-probabilities of one table, in the order of `keys`; NaN where the key has a fault."""
    path = folder / table_name(name)
    found, costs = read_costs(path, faults)
    if found != list(keys) and faults is not None and set(found) < set(keys):
        for key in set(keys) - set(found):
            faults.setdefault(key, FormatError(f"no value of {key}", where=str(path), expected="one number"))
        at = {key: row for row, key in enumerate(found)}
        costs = np.array([costs[at[key]] if key in at else np.nan for key in keys])
    elif found != list(keys):
        at = {key: row for row, key in enumerate(found)}
        missing = [key for key in keys if key not in at]
        extra = sorted(set(found) - set(keys))
        if missing or extra or len(at) != len(found):
            odd = f"lacks {missing[0]}" if missing else f"has {extra[0]}" if extra else "repeats a key"
            raise FormatError(
                f"the keys are not those of the hypotheses: it {odd}",
                where=str(path),
                expected=f"{len(keys)} keys",
                got=f"{len(found)}",
            )
        costs = costs[[at[key] for key in keys]]
    return 0.0 - costs  # and not -costs: Kaldi's "-0" and "0" are the same


def best_of_utterance(utterance: str, text: str) -> str:
    """``utterance words``, as in Kaldi's ``text`` files."""
    return f"{utterance} {text}".rstrip(" ")
