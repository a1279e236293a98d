"""nbest rescore: re-rank lists, in the format they came in."""

import time
from pathlib import Path

import click

from service.cli import options
from service.cli.loading import check_new_names, open_scorers, read_lists


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
@click.option(
    "--unknown-feature",
    type=click.Choice(("error", "ignore")),
    default="error",
    show_default=True,
    help="What to do with a feature that the weights do not name.",
)
@click.option("--one-best", is_flag=True, help="Write only the best text of each list.")
@options.out("Where the lists go: a file, for Kaldi a directory; standard output by default.", check=None)
def rescore(
    lists: str,
    lms: tuple[str, ...],
    self_normalized: bool,
    weights: str | None,
    changes: dict[str, tuple[float, ...]],
    external: tuple[str, ...],
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    unknown_feature: str,
    one_best: bool,
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
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats import check_target, format_of, write_nbest, write_one_best
    from rescoring.formats.moses import DECODER_TOTAL
    from service.cli.loading import Counting, read_weights_for

    began = time.perf_counter()
    given = [parse_external(argument) for argument in external]
    found = read_lists(lists, list_format, features, words_txt)
    check_target(out, format_of(found), one_best=one_best)
    chosen = read_weights_for(weights, found) if weights is not None else None
    scorers = [Counting(scorer) for scorer in open_scorers(lms, self_normalized=self_normalized)]
    check_new_names(found, scorers)
    if DECODER_TOTAL in changes:  # a Moses line's own total, which is no feature otherwise
        found = pipeline.with_decoder_total(found)
    if changes:
        chosen = pipeline.changed_weights(chosen, changes, scorers)
    policy: pipeline.UnknownFeature = "ignore" if unknown_feature == "ignore" else "error"
    ranked = pipeline.rescore(found, scorers, chosen, external=given, unknown_feature=policy)
    if one_best:
        write_one_best(ranked.lists, ranked.best, out)
    else:
        write_nbest(ranked.lists, out, totals=ranked.totals, ranking=ranked.order)
    for warning in ranked.warnings:
        click.echo(f"nbest: warning: {warning}", err=True)
    changed = int(ranked.changed.sum())
    click.echo(
        f"lists {len(found)}  hypotheses {len(found.texts)}  changed 1-bests {changed}  "
        f"{'  '.join(str(scorer) for scorer in scorers)}{'  ' if scorers else ''}"
        f"seconds {time.perf_counter() - began:.2f}",
        err=True,
    )
    digests = {scorer.name: scorer.digest for scorer in scorers}
    signed = pipeline.ranking_signature(chosen, digests, _called(weights, changes))
    click.echo(f"signature {signed}", err=True)


def _called(weights: str | None, changes: dict[str, tuple[float, ...]]) -> str:
    """What the signature calls the weights; their content is in it too."""
    return Path(weights).name if weights else "given" if changes else "default"
