"""nbest rescore: re-rank lists, in the format they came in."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import check_new_names, open_lists, open_scorers

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.formats import Blocks
    from rescoring.nbest import NbestLists
    from rescoring.pipeline import Ranked


def _parse_weights(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[float, ...]]:
    from nbest.errors import ConfigError, shorten
    from rescoring.formats.numbers import finite

    weights: dict[str, tuple[float, ...]] = {}
    for value in values:
        name, equals, numbers = value.rpartition("=")
        if not (name and equals):
            raise ConfigError("not a weight", where="--weight", expected="NAME=VALUE", got=shorten(value))
        if name in weights:
            raise ConfigError("a weight is given twice", where="--weight", got=shorten(name))
        what = f"the weight of {shorten(name)}"
        weights[name] = tuple(finite(number, what, "--weight") for number in numbers.split(","))
    return weights


@click.command()
@options.lists_argument
@options.lm
@options.self_normalized
@options.precision
@click.option("--weights", metavar="FILE", help="A weight set of `nbest tune`, or a moses.ini.")
@click.option(
    "--weight",
    "changes",
    multiple=True,
    callback=_parse_weights,
    metavar="NAME=VALUE",
    help="The weight of a feature or model, in place of the one in --weights or beside them; VALUE,VALUE for "
    "a feature of several columns. May repeat.",
)
@options.add_feature
@options.list_format
@options.features
@options.words
@options.beam_size
@click.option(
    "--unknown-feature",
    type=click.Choice(("error", "ignore")),
    default="error",
    show_default=True,
    help="What to do with a feature that the weights do not name.",
)
@options.model_text
@click.option("--one-best", is_flag=True, help="Write only the best text of each list.")
@click.option("--detokenize", is_flag=True, help="With --one-best: English as it is printed.")
@options.out("Where the lists go: a file, for Kaldi a directory; standard output by default.", check=None)
def rescore(
    lists: str,
    lms: tuple[str, ...],
    self_normalized: bool,
    precision: "Precision",
    weights: str | None,
    changes: dict[str, tuple[float, ...]],
    external: tuple[str, ...],
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    beam_size: int | None,
    unknown_feature: str,
    text: str | None,
    one_best: bool,
    detokenize: bool,
    out: str,
) -> None:
    """Re-rank LISTS (a file or a Kaldi directory) with language models and feature weights.

    The output has the lists' format, the best first; features that were added and the new totals are in it.

    Each feature needs a weight, except what weighs 0 unless it is named: a model's count of unknown words
    (NAME.oov), word_count, and totals that decoders add. To add a model to a decoder as it is tuned:
    --weights moses.ini --lm small --weight small=0.5 (try some values on lists with references, or let
    `nbest tune --initial moses.ini` find all of them). Without any weights the decoder's total and the models
    count 1 each, and a warning says so; features without a total are refused then.
    """
    from nbest.errors import ConfigError
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats import check_target
    from rescoring.formats.moses import DECODER_TOTAL
    from service.cli.loading import Counting, read_weights_for

    if detokenize and not one_best:
        raise ConfigError("only texts are detokenized", where="--detokenize", expected="--one-best")
    began = time.perf_counter()
    given = [parse_external(argument) for argument in external]
    with open_lists(lists, list_format, features, words_txt, beam_size) as blocks:
        check_target(out, blocks.format.name, one_best=one_best)
        chosen = read_weights_for(weights, blocks) if weights is not None else None
        scorers = [
            Counting(scorer)
            for scorer in open_scorers(lms, self_normalized=self_normalized, precision=precision)
        ]
        check_new_names(blocks, scorers)
        several: Iterable[NbestLists] = blocks
        if DECODER_TOTAL in changes:  # a Moses line's own total, which is no feature otherwise
            several = map(pipeline.with_decoder_total, blocks)
        if changes:
            chosen = pipeline.changed_weights(chosen, changes, scorers)
        policy: pipeline.UnknownFeature = "ignore" if unknown_feature == "ignore" else "error"
        pipeline.text_of(chosen, text)  # raises before anything is scored
        ranked = pipeline.rescore_blocks(
            several, scorers, chosen, external=given, unknown_feature=policy, text=text
        )
        printed = map(_detokenized, ranked) if detokenize else ranked
        sums = _write(printed, blocks, out, one_best)
    for warning in sums.warnings:
        click.echo(f"nbest: warning: {warning}", err=True)
    click.echo(
        f"lists {sums.lists}  hypotheses {sums.hypotheses}  changed 1-bests {sums.changed}  "
        f"{'  '.join(str(scorer) for scorer in scorers)}{'  ' if scorers else ''}"
        f"seconds {time.perf_counter() - began:.2f}",
        err=True,
    )
    digests = {scorer.name: scorer.digest for scorer in scorers}
    signed = pipeline.ranking_signature(chosen, digests, _called(weights, changes), text)
    click.echo(f"signature {signed}", err=True)


def _detokenized(ranked: "Ranked") -> "Ranked":
    from rescoring.text import get_pipeline

    texts = tuple(get_pipeline("detokenize")(ranked.lists.texts))
    return replace(ranked, lists=replace(ranked.lists, texts=texts))


@dataclass
class _Sums:
    """What the summary says."""

    lists: int = 0
    hypotheses: int = 0
    changed: int = 0
    warnings: dict[str, None] = field(default_factory=dict)


def _write(ranked: "Iterable[Ranked]", blocks: "Blocks", out: str, one_best: bool) -> _Sums:
    """Each block as it comes: one is in memory, not the file."""
    from rescoring.formats import open_one_best, open_writer

    sums = _Sums()
    name = blocks.format.name
    with ExitStack() as stack:
        if one_best:
            write_best = stack.enter_context(open_one_best(out, name, blocks.ids, blocks.source))
        else:
            write = stack.enter_context(open_writer(out, name))
        for one in ranked:
            if one_best:
                write_best(one.lists, one.best)
            else:
                write(one.lists, one.order, one.totals)
            sums.lists += len(one.lists)
            sums.hypotheses += len(one.lists.texts)
            sums.changed += int(one.changed.sum())
            sums.warnings.update(dict.fromkeys(one.warnings))
    return sums


def _called(weights: str | None, changes: dict[str, tuple[float, ...]]) -> str:
    """What the signature calls the weights; their content is in it too."""
    return Path(weights).name if weights else "given" if changes else "default"
