"""How far a batch is, on standard error: one line that changes on a terminal, else a line now and then."""

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rescoring.batch.run import Summary
    from rescoring.formats import Blocks

TERMINAL_SECONDS = 0.2  # between two states of the line
LOG_SECONDS = 10.0  # between two lines where there is no terminal


class Progress:
    """Says how many hypotheses were read, then how many are done, how fast, and how long the rest will take.

    `shown` None: on a terminal only.
    """

    def __init__(self, shown: bool | None) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shown = self._terminal if shown is None else shown
        self._said = self._begun = time.monotonic()
        self._before: int | None = None  # hypotheses of an earlier run
        self._line = False

    def reading(self, hypotheses: int) -> None:
        """The lists are looked through."""
        self._say(f"reading: {hypotheses:,} hypotheses")

    def rescored(self, summary: "Summary", lists: "Blocks") -> None:
        """One more block is done; at first, those of an earlier run are."""
        done = summary.hypotheses
        if self._before is None:
            self._before, self._begun = done, time.monotonic()
            return
        seconds = max(time.monotonic() - self._begun, 1e-9)
        rate = (done - self._before) / seconds
        left = (lists.hypotheses - done) / rate if rate else 0.0
        failed = f", {len(summary.failures)} set aside" if summary.failures else ""
        self._say(
            f"{summary.lists:,} of {len(lists.ids):,} lists, {done:,} of {lists.hypotheses:,} hypotheses"
            f"{failed}, {rate:,.0f} hypotheses/s, {_clock(left)} left",
            last=summary.blocks == lists.count,
        )

    def clear(self) -> None:
        """The line of a terminal is given back to others."""
        if self._line:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._line = False

    def _say(self, line: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if not self._shown or (
            not last and now - self._said < (TERMINAL_SECONDS if self._terminal else LOG_SECONDS)
        ):
            return
        self._said = now
        if self._terminal:
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
            self._line = True
        else:
            click.echo(line, err=True)


def _clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
