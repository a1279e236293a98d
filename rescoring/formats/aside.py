"""Lists that fail may be set aside, by id and with the reason, and the rest of the file goes on."""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from nbest.errors import InputError, LimitError
from nbest.files import write_whole

T = TypeVar("T")
_LINE = re.compile(r":(\d+)(?: |$)")


@dataclass(frozen=True)
class Failure:
    """A list that was set aside.

    id     None where it cannot be told
    line   what is wrong stands there in the source, or the list begins there; None where there are no lines
    error  the reason
    """

    id: str | None
    source: str
    line: int | None
    error: str


class Aside:
    """Lists that a reader sets aside, in the order of the file."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def add(self, list_id: str | None, source: str, error: InputError) -> None:
        """One more; the line is where the error says."""
        found = _LINE.search((error.where or "").removeprefix(source))
        self.failures.append(Failure(list_id, source, int(found[1]) if found else None, str(error)))

    def readable(
        self, lists: Sequence[T], read: Callable[[list[T]], object], id_of: Callable[[T], str], source: str
    ) -> list[T]:
        """Those of the lists that `read` can read by themselves; the others are set aside."""
        good = []
        for one in lists:
            try:
                read([one])
            except LimitError:  # of the whole file
                raise
            except InputError as error:
                self.add(id_of(one), source, error)
            else:
                good.append(one)
        return good


def write_failures(failures: Iterable[Failure], path: str | os.PathLike[str]) -> None:
    """One object a line, in the order of the lists; an empty file where none failed."""
    with write_whole(path) as stream:
        for one in failures:
            stream.write((json.dumps(asdict(one), ensure_ascii=False) + "\n").encode())
