"""The loop of a batch: blocks out of the lists, through an engine, into the output; what came of them all."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nbest.errors import FormatError, LimitError
from rescoring.batch.block import Block, Done, Settings
from rescoring.batch.output import Output
from rescoring.features import check_name
from rescoring.formats import Blocks, one_best_blanks
from rescoring.formats.aside import Failure
from rescoring.formats.external_scores import is_by_line, open_scores
from rescoring.formats.notes import Notes

# What became of each block, in their order. Another process may be the one that goes through the blocks.
Engine = Callable[[Iterable[Block]], Iterator[Done]]


@dataclass
class Summary:
    """What became of all blocks so far; of an earlier run too.

    scored    for each scorer: different texts (of a block), tokens, words out of vocabulary
    notes     what the writers did that nobody asked for
    failures  lists that were set aside
    """

    notes: Notes
    failures: list[Failure]
    blocks: int = 0
    lists: int = 0
    hypotheses: int = 0
    changed: int = 0
    scored: list[tuple[int, int, int]] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)

    def add(self, done: Done) -> None:
        """One more block."""
        self.blocks += 1
        self.lists += done.lists
        self.hypotheses += done.hypotheses
        self.changed += done.changed
        before = self.scored or [(0, 0, 0)] * len(done.scored)
        self.scored = [
            (a[0] + b[0], a[1] + b[1], a[2] + b[2]) for a, b in zip(before, done.scored, strict=True)
        ]
        self.warnings.update(dict.fromkeys(done.warnings))
        self.notes.take(done.notes)
        self.failures += done.failures


def run(
    lists: Blocks,
    settings: Settings,
    external: Sequence[tuple[str, Path]],
    output: Output,
    engine: Engine,
    summary: Summary,
    *,
    most_failures: int | None = None,
    progress: Callable[[Summary], None] = lambda _: None,
) -> None:
    """Puts the lists through the engine, but those that the output has already; adds all to `summary`.

    `external` adds score files. `progress` is told of every block. Raises what the engine and the score files
    raise, LimitError for more lists set aside than `most_failures`, FormatError where no list is left.
    """
    for done in output.finished:
        summary.add(done)
    progress(summary)
    _check_failures(summary, most_failures)
    todo = Remaining(lists, settings, tuple(external), len(output.finished), output.folders)
    for done in engine(todo):
        output.add(done)
        summary.add(done)
        _check_failures(summary, most_failures)
        progress(summary)
    if not summary.lists:
        raise FormatError("every list was set aside", where=lists.source, got=summary.failures[0].error)


@dataclass(frozen=True)
class Remaining:
    """What is left to do, from block number `done` on; score files are read along, to stay in step.

    folders  where the folders of blocks are, for an output that is a directory
    """

    lists: Blocks
    settings: Settings
    external: tuple[tuple[str, Path], ...]
    done: int
    folders: Path | None

    def __iter__(self) -> Iterator[Block]:
        """Reads the files anew."""
        lists = self.lists
        scores = [(name, open_scores(name, path)) for name, path in self.external]
        if lists.failures and (by_line := [path for _, path in self.external if is_by_line(path)]):
            first_failure = lists.failures[0]
            raise FormatError(
                "scores by line are out of step where a list was set aside",
                where=str(by_line[0]),
                expected="scores by name (SRILM's directory, JSON), or lists that can all be read",
                got=first_failure.error,
            )
        one_best = self.settings.one_best
        blanks = one_best_blanks(self.settings.format, lists.ids, lists.source) if one_best else []
        first = 0
        for number, block in enumerate(lists):
            for name, one in scores:
                check_name(block, name)
                block = block.with_feature(name, one.take(block))
            if number >= self.done:
                between = tuple(blanks[first : first + len(block)])
                folder = None if self.folders is None else self.folders / str(number)
                yield Block(number, first, block, between, folder)
            first += len(block)
        for _, one in scores:
            one.finish()


def _check_failures(summary: Summary, most: int | None) -> None:
    if most is not None and len(summary.failures) > most:
        last = summary.failures[-1]
        raise LimitError(
            "too many lists had to be set aside",
            where=last.source,
            expected=f"at most {most}",
            got=f"{len(summary.failures)}, the last one {last.id}: {last.error}",
        )
