"""nbest rescore: re-rank lists, in the format they came in."""

import time
from pathlib import Path

import click

from service.cli import options
from service.cli.loading import open_scorers, read_lists


@click.command()
@options.lists_argument
@options.lm
@options.self_normalized
@click.option("--weights", metavar="FILE", help="A weight set of `nbest tune`, or a moses.ini.")
@options.add_feature
@options.list_format
@options.features
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
    external: tuple[str, ...],
    list_format: str | None,
    features: list[str] | None,
    unknown_feature: str,
    one_best: bool,
    out: str,
) -> None:
    """Re-rank LISTS (a file or a Kaldi directory) with language models and feature weights.

    Without --weights the decoder's total and the models count equally, and a warning says so. The output
    has the lists' format; features that were added and the new totals are in it.
    """
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats import check_target, format_of, write_nbest, write_one_best
    from service.cli.loading import Counting, read_weights_for

    began = time.perf_counter()
    given = [parse_external(argument) for argument in external]
    found = read_lists(lists, list_format, features)
    check_target(out, format_of(found), one_best=one_best)
    chosen = read_weights_for(weights, found) if weights is not None else None
    scorers = [Counting(scorer) for scorer in open_scorers(lms, self_normalized=self_normalized)]
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
    signed = pipeline.ranking_signature(chosen, digests, Path(weights).name if weights else "default")
    click.echo(f"signature {signed}", err=True)
