"""One block of lists, rescored and written: the same bytes whoever computes it, when, and beside what.

Every engine (this process, workers, a cluster) calls `rescore_block`; the pieces it returns, one behind the
other, are the output. A piece is packed by itself: gzip, bzip2, xz and zstd read such a file as one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nbest.errors import InputError
from nbest.files import packed
from rescoring import pipeline
from rescoring.formats import FORMATS, one_best_lines
from rescoring.formats.aside import Failure
from rescoring.formats.notes import Notes
from rescoring.nbest import NbestLists
from rescoring.scorer import Scorer, Scores
from rescoring.text import get_pipeline
from rescoring.weights import WeightSet

BLOCK_HYPOTHESES = 5_000  # 20,000 are scored no faster: 16.2 s in one block, 16.6 s in four (small, one core)


@dataclass(frozen=True)
class Settings:
    """What the output depends on beside the lists and the scorers; it can be sent to another process.

    format      of the output, as of the input
    out         what the output is called: its ending says how pieces are packed, notes name it
    weights     those that rank; None for the default ones
    one_best    one text a list; `detokenize`d, if asked for
    with_total  the decoder's total of Moses' lines as a feature
    set_aside   leave out lists that fail, instead of raising
    """

    format: str
    out: str
    weights: WeightSet | None
    unknown_feature: pipeline.UnknownFeature = "error"
    text: str | None = None
    one_best: bool = False
    detokenize: bool = False
    with_total: bool = False
    set_aside: bool = False

    @property
    def directory(self) -> bool:
        """Whether the output is a directory."""
        return FORMATS[self.format].directory and not self.one_best


@dataclass(frozen=True)
class Block:
    """Whole lists of a file.

    number  of this block, from 0
    first   how many lists stand before it
    lists   with what score files add to them
    blanks  for 1-bests: empty lines before each list
    folder  where its files go, for an output that is a directory
    """

    number: int
    first: int
    lists: NbestLists
    blanks: tuple[int, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Done:
    """What became of a block.

    piece       its part of the output, packed; nothing where all went into the block's folder
    changed     lists with another best text than before
    scored      for each scorer: different texts, tokens, words out of vocabulary
    warnings    what was ignored or assumed
    notes       what the writer did that nobody asked for
    failures    lists that were set aside
    """

    number: int
    piece: bytes
    lists: int
    hypotheses: int
    changed: int
    scored: tuple[tuple[int, int, int], ...]
    warnings: tuple[str, ...]
    notes: Notes
    failures: tuple[Failure, ...]


def rescore_block(block: Block, settings: Settings, scorers: Sequence[Scorer]) -> Done:
    """Scores and ranks a block, and writes it down.

    Raises what `pipeline.rescore` raises; with `set_aside` only what is wrong with no list in particular.
    """
    counting = [_Counting(scorer) for scorer in scorers]
    ranked, failures = _ranked(block.lists, settings, counting)
    notes = Notes(settings.out)
    piece = b"" if ranked is None and not settings.one_best else _written(block, ranked, settings, notes)
    return Done(
        number=block.number,
        piece=packed(piece, settings.out) if piece else b"",
        lists=0 if ranked is None else len(ranked.lists),
        hypotheses=0 if ranked is None else len(ranked.lists.texts),
        changed=0 if ranked is None else int(ranked.changed.sum()),
        scored=tuple(one.counts for one in counting),
        warnings=() if ranked is None else ranked.warnings,
        notes=notes,
        failures=tuple(failures),
    )


def _ranked(
    lists: NbestLists, settings: Settings, scorers: "Sequence[_Counting]"
) -> tuple[pipeline.Ranked | None, list[Failure]]:
    """The ranking of all lists, or of those that can be ranked where others may be set aside; or None."""
    try:
        return _rescored(lists, settings, scorers), []
    except MemoryError:
        raise
    except Exception as error:  # a model of others may raise anything
        if not settings.set_aside:
            raise
        whole = error
    good: list[int] = []
    failures: list[Failure] = []
    for segment, list_id in enumerate(lists.ids):
        one = lists.select([segment])
        try:
            _rescored(one, settings, scorers)
        except MemoryError:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            line = one.lines[0] if one.lines and one.lines[0] else None
            failures.append(Failure(list_id, lists.source, line, said))
        else:
            good.append(segment)
    if not failures:  # each list by itself is well: the fault is not in the lists
        raise whole
    return (_rescored(lists.select(good), settings, scorers) if good else None), failures


def _rescored(lists: NbestLists, settings: Settings, scorers: "Sequence[_Counting]") -> pipeline.Ranked:
    for scorer in scorers:
        scorer.counts = (0, 0, 0)
    return pipeline.rescore(
        pipeline.with_decoder_total(lists) if settings.with_total else lists,
        scorers,
        settings.weights,
        unknown_feature=settings.unknown_feature,
        text=settings.text,
    )


def _written(block: Block, ranked: pipeline.Ranked | None, settings: Settings, notes: Notes) -> bytes:
    """The block's part of the one file, not packed; or nothing, and the block's files in its folder."""
    if settings.one_best:
        lists = block.lists.select([]) if ranked is None else ranked.lists
        rows = np.zeros(0, dtype=np.int64) if ranked is None else ranked.best
        if settings.detokenize:
            lists = replace(lists, texts=tuple(get_pipeline("detokenize")(lists.texts)))
        lines = one_best_lines(lists, rows, settings.format, block.lists.ids, block.blanks)
        return "".join(f"{line}\n" for line in lines).encode()
    assert ranked is not None
    style = FORMATS[settings.format]
    if style.files is not None:
        assert block.folder is not None
        shutil.rmtree(block.folder, ignore_errors=True)  # of a process that died of this block
        block.folder.mkdir(parents=True)
        style.files(block.folder, ranked.lists, ranked.order, ranked.totals, notes)
        return b""
    assert style.piece is not None
    return style.piece(block.first)(ranked.lists, ranked.order, ranked.totals, notes)


class _Counting:
    """A scorer that counts what it scores, for the summary."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.counts = (0, 0, 0)

    @property
    def name(self) -> str:
        return self._scorer.name

    @property
    def digest(self) -> str:
        return self._scorer.digest

    def score(self, texts: Sequence[str]) -> Scores:
        scores = self._scorer.score(texts)
        more = (len(texts), int(scores.token_counts.sum()), int(scores.oov_counts.sum()))
        before = self.counts
        self.counts = (before[0] + more[0], before[1] + more[1], before[2] + more[2])
        return scores
