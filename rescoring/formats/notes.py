"""What a reader or a writer did that nobody asked for, counted, and said once for the whole file."""

import logging
from collections.abc import Iterable

_log = logging.getLogger(__name__)


class Notes:
    """Counts by message; a message has the place ``{n}`` for its count."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: dict[str, int] = {}
        self.sparse: dict[str, None] = {}  # features that are absent on some lines
        self.kept: set[str] = set()  # keys without a meaning here

    def add(self, message: str, count: int = 1) -> None:
        """`count` more cases of `message`; none is no case."""
        if count:
            self.counts[message] = self.counts.get(message, 0) + count

    def say(self, message: str) -> None:
        """A message that says all by itself, however often the case comes."""
        self.counts[message] = 1

    def add_sparse(self, names: Iterable[str]) -> None:
        """Features that are absent on some lines, and counted as 0 there."""
        self.sparse.update(dict.fromkeys(names))

    def add_kept(self, key: str) -> None:
        """A key without a meaning here, that is given back as it is."""
        self.kept.add(key)

    def take(self, other: "Notes") -> None:
        """All that another has counted, of another part of the same thing."""
        for message, count in other.counts.items():
            counted = "{n}" in message
            self.counts[message] = self.counts.get(message, 0) + count if counted else 1
        self.add_sparse(other.sparse)
        self.kept |= other.kept

    def log(self) -> None:
        """A warning for each message."""
        if self.sparse:
            names = list(self.sparse)
            _log.warning(
                "%s: %d %s absent on some lines and counted as 0 there (%s%s)",
                self.source,
                len(names),
                "feature is" if len(names) == 1 else "features are",
                ", ".join(names[:5]),
                ", ..." if len(names) > 5 else "",
            )
        for message, count in self.counts.items():
            _log.warning("%s: %s", self.source, message.replace("{n}", str(count)))
        if self.kept:
            keys = ", ".join(sorted(self.kept))
            _log.warning("%s: keys without a meaning here are kept as they are: %s", self.source, keys)
        self.counts, self.sparse, self.kept = {}, {}, set()
