"""Where SRILM's n-best lists are: a file, a list of files, a directory; and score directories beside them.

DIR/nbest/UTT.gz        the lists; or the files stand in DIR itself
DIR/NAME/UTT.gz         a score directory: one number a line for each hypothesis, in log10
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, NotFoundError, shorten
from nbest.files import COMPRESSED, read_lines
from rescoring.formats.numbers import finite, is_not_finite, is_number
from rescoring.formats.srilm_lines import NAT_PER_LOG10, kind_of

LISTS = "nbest"  # the folder of the lists among score directories
_ENDINGS = (*COMPRESSED, ".Z", ".score")


@dataclass(frozen=True)
class Layout:
    """The lists' files in order, the score directories by name, and folders that are neither."""

    files: tuple[Path, ...]
    scores: dict[str, Path]
    others: tuple[str, ...] = ()


def utterance_of(file: Path) -> str:
    """``/x/utt.score.gz`` is the list of ``utt``, as in SRILM's own scripts."""
    name = file.name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def find_lists(path: Path) -> Layout:
    """What stands at `path`; raises NotFoundError or FormatError."""
    if path.is_dir():
        return _in_directory(path)
    first = first_line(path)
    if not first or kind_of(first) is not None:
        return Layout((path,), {})
    listed = ((number, line.strip(" \t")) for number, line in read_lines(path))
    files = [_listed(name, path, number) for number, name in listed if name]
    return Layout(tuple(files), {})


def _listed(name: str, file_list: Path, number: int) -> Path:
    for place in (Path(name), file_list.parent / name):
        if place.is_file():
            return place
    raise NotFoundError("no such n-best file", where=f"{file_list}:{number}", got=shorten(name))


def _in_directory(path: Path) -> Layout:
    lists = path / LISTS
    if not lists.is_dir():
        return Layout(_files(path), {})
    scores: dict[str, Path] = {}
    others: list[str] = []
    for folder in sorted(one for one in path.iterdir() if one.is_dir() and one.name != LISTS):
        if is_score_directory(folder):
            scores[folder.name] = folder
        else:
            others.append(folder.name)
    return Layout(_files(lists), scores, tuple(others))


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")))


def is_score_directory(folder: Path) -> bool:
    """Whether the first file in it begins with a number that stands alone."""
    files = _files(folder)
    first = first_line(files[0]).strip(" \t") if files else ""
    return is_number(first) or is_not_finite(first)


def is_list_directory(folder: Path) -> bool:
    """Whether there are SRILM's lists: in a folder `nbest`, or as the first file."""
    if (folder / LISTS).is_dir():
        folder = folder / LISTS
    files = _files(folder)
    return bool(files) and kind_of(first_line(files[0])) is not None


def first_line(file: Path) -> str:
    """The first line that is not blank, or nothing; nothing too for a file that is no text."""
    try:
        return next((line for _, line in read_lines(file) if line.strip(" \t")), "")
    except FormatError:
        return ""


class ScoreDirectory:
    """The scores of one directory, in natural logarithms: the file of each utterance by its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        for file in _files(folder):
            utterance = utterance_of(file)
            if utterance in self.files:
                raise FormatError(f"two files for {utterance}", where=str(folder), got=file.name)
            self.files[utterance] = file

    def read(self, utterance: str, count: int, nat_per_unit: float = NAT_PER_LOG10) -> NDArray[np.float64]:
        """(count,) scores; raises NotFoundError, or FormatError for another number of lines."""
        if utterance not in self.files:
            raise NotFoundError(f"no scores of {utterance}", where=str(self.folder))
        file = self.files[utterance]
        values = [
            finite(line.strip(" \t"), "the score", f"{file}:{number}")
            for number, line in read_lines(file)
            if line.strip(" \t")
        ]
        if len(values) != count:
            raise FormatError(
                "as many lines as hypotheses are needed",
                where=str(file),
                expected=f"{count} lines",
                got=f"{len(values)} lines",
            )
        return nat_per_unit * np.array(values)


def read_scores(
    directories: Sequence[tuple[str, ScoreDirectory]], utterance: str, count: int
) -> NDArray[np.float64]:
    """(count, D) the scores of one utterance from each directory."""
    columns = [directory.read(utterance, count) for _, directory in directories]
    return np.column_stack(columns) if columns else np.zeros((count, 0))
