"""Moses lists of which some cannot be read: those are set aside, the others come as if they were not there.

A list is its lines. One line that is broken sets its list aside: which hypotheses it has cannot be told any
more. A line without an id may belong to the list before it or to the one behind it: both are set aside.
Which features are vectors, and how wide, is as before, or as in most lists of a first block with a fault.
"""

from collections import Counter
from collections.abc import Callable

from nbest.errors import FeatureError, FormatError, InputError, LimitError, shorten
from nbest.files import is_text
from rescoring.formats.aside import Aside
from rescoring.formats.notes import Notes
from rescoring.nbest import NbestLists

Numbered = list[tuple[int, str]]
Vectors = frozenset[tuple[str, int]]  # features of more than one value


class Sieve:
    """Reads block after block by `read`, which raises; `id_of` gives an id of digits, or anything else."""

    def __init__(
        self,
        read: Callable[[Numbered, Notes], NbestLists],
        id_of: Callable[[str], str],
        source: str,
        aside: Aside,
    ) -> None:
        self._read, self._id_of, self._source, self._aside = read, id_of, source, aside
        self._vectors: Vectors | None = None
        self._last_id = ""
        self._stray: InputError | None = None  # the last line had no id

    def id_of(self, line: str) -> str:
        """The id of a line; one without an id goes with the line before it."""
        name = self._id_of(line)
        if _is_id(name):
            self._last_id = name
        return self._last_id

    def read(self, block: Numbered, notes: Notes) -> NbestLists | None:
        """The lists of these lines that can be read; None where there are none."""
        groups, faults = self._grouped(block)
        if not faults:
            try:
                tried = Notes(self._source)
                lists = self._read(block, tried)
                self._check(lists)
            except LimitError:  # of the whole file
                raise
            except InputError:
                pass
            else:
                notes.take(tried)
                return lists
        found: dict[str, NbestLists] = {}
        for name, lines in groups.items():
            if name not in faults:
                try:
                    found[name] = self._read(lines, Notes(self._source))
                except LimitError:
                    raise
                except InputError as error:
                    faults[name] = error
        if self._vectors is None and found:
            self._vectors = Counter(map(_vectors, found.values())).most_common(1)[0][0]
        good: Numbered = []
        for name, lines in groups.items():
            try:
                if name in faults:
                    raise faults[name]
                self._check(found[name])
                good += lines
            except InputError as error:
                self._aside.add(name or None, self._source, error)
        return self._read(sorted(good), notes) if good else None

    def _grouped(self, block: Numbered) -> tuple[dict[str, Numbered], dict[str, InputError]]:
        """The lines by id, without blank ones; and what is wrong with an id's lines at first sight."""
        groups: dict[str, Numbered] = {}
        faults: dict[str, InputError] = {}
        current = ""
        for number, line in block:
            if not line.strip(" \t"):
                continue
            where = f"{self._source}:{number}"
            name = self._id_of(line)
            if not _is_id(name):
                said = FormatError("no id in the line", where=where, expected="a number", got=shorten(line))
                faults.setdefault(current, said)
                self._stray = FormatError(
                    "a line without an id stands before the list, and may be of it",
                    where=where,
                    expected="a number",
                    got=shorten(line),
                )
            else:
                if name != current and self._stray is not None:
                    faults.setdefault(name, self._stray)
                self._stray, current = None, name
            if not is_text(line):
                faults.setdefault(current, FormatError("invalid UTF-8", where=where, expected="UTF-8 text"))
            groups.setdefault(current, []).append((number, line))
        return groups, faults

    def _check(self, lists: NbestLists) -> None:
        """Raises FeatureError where the vectors are not those of the lists before."""
        vectors = _vectors(lists)
        if self._vectors is None:
            self._vectors = vectors
        if vectors != self._vectors:
            raise FeatureError(
                "other vectors of features than most lists have",
                where=lists.where(0),
                expected=_said(self._vectors - vectors),
                got=_said(vectors - self._vectors),
            )


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 18


def _vectors(lists: NbestLists) -> Vectors:
    return frozenset((one.name, one.width) for one in lists.schema if one.width > 1)


def _said(vectors: Vectors) -> str:
    return ", ".join(f"{shorten(name)} with {width} values" for name, width in sorted(vectors)) or "none"
