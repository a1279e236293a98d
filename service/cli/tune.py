"""nbest tune: lists and references in, feature weights out."""

from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import open_scorers, read_lists, read_weights_for

if TYPE_CHECKING:
    from rescoring.loglinear import Floats
    from rescoring.nbest import NbestLists
    from rescoring.weights import WeightSet


@click.command()
@options.lists_argument
@options.references
@options.lm
@options.metric
@options.list_format
@options.features
@options.add_feature
@click.option(
    "--text", default="raw", show_default=True, metavar="NAME", help="raw, or lower: what models see."
)
@click.option("--initial", metavar="FILE", help="Where to start: a weight set or a moses.ini; else all ones.")
@click.option("--fix", "fixed", multiple=True, metavar="NAME=WEIGHT", help="Keep this weight. May repeat.")
@click.option("--restarts", type=click.IntRange(1), default=20, show_default=True, help="Descents to make.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random starts and directions.")
@options.out("Where the weight set goes; standard output by default.")
def tune(
    lists: str,
    references: tuple[str, ...],
    lms: tuple[str, ...],
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    list_format: str | None,
    features: list[str] | None,
    external: tuple[str, ...],
    text: str,
    initial: str | None,
    fixed: tuple[str, ...],
    restarts: int,
    seed: int,
    out: str,
) -> None:
    """Find the weights of LISTS' features and of the models' scores by minimum error rate training.

    The decoder's total takes no part: it is a sum of the others. Scores on these lists are optimistic;
    evaluate on other data. Progress goes to standard error.
    """
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric
    from rescoring.oracle import oracle
    from rescoring.text import get_pipeline
    from rescoring.tuning import fingerprint, mert
    from rescoring.weights import Model, Tuning, WeightSet, write_weights

    measure = get_metric(metric_name, tokenize, lowercase)
    prepared = get_pipeline(text).name
    given = [parse_external(argument) for argument in external]
    found = read_lists(lists, list_format, features)
    known = read_weights_for(initial, found) if initial is not None else None
    texts = read_references(references, found)
    scorers = open_scorers(lms)
    full = pipeline.tunable(pipeline.assemble(found, scorers, given, prepared))
    counts = measure.counts(full.texts, full.segments, texts)  # (N, K)
    first, bounds = _start(known, fixed, full)
    _say(f"{len(full)} lists, {len(full.texts)} hypotheses, {full.features.shape[1]} columns")
    _say(f"as the lists stand {float(measure.score(counts[full.offsets[:-1]].sum(axis=0))):.2f}")
    bound = oracle(counts, full.offsets, measure)
    _say(f"oracle {bound.score:.2f}{'' if bound.exact else ' or better'}")
    tuned = mert.tune(
        full,
        counts,
        measure,
        first,
        restarts=restarts,
        seed=seed,
        ranges=bounds,
        progress=lambda done, best: _say(f"descent {done} of {restarts}: {best.score:.2f}"),
    )
    record = Tuning(
        metric=measure.name,
        signature=measure.signature,
        score=tuned.score,
        lists_sha256=fingerprint.lists_sha256(found),
        references_sha256=fingerprint.references_sha256(texts),
        optimizer="mert",
        restarts=restarts,
        seed=seed,
    )
    models = [Model(scorer.name, scorer.digest) for scorer in scorers]
    write_weights(WeightSet.from_vector(tuned.vector, full.schema, models, prepared, record), out)
    if tuned.constant:
        _say(f"the same throughout every list, so without weight: {', '.join(tuned.constant)}")
    _say(f"start {tuned.initial_score:.2f}  tuned {tuned.score:.2f}  {measure.name}  {measure.signature}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _start(
    weights: "WeightSet | None", fixed: tuple[str, ...], lists: "NbestLists"
) -> "tuple[Floats | None, Floats | None]":
    """(F,) where to start and (F, 2) the bounds of each weight; None for the tuner's own choice.

    A feature that `weights` do not name starts at 0; a fixed weight is both of its bounds.
    """
    import numpy as np

    from nbest.errors import ConfigError, WeightsError, shorten

    if weights is None and not fixed:
        return None, None
    width = lists.features.shape[1]
    first = np.ones(width) if weights is None else np.zeros(width)
    for name, values in weights.features.items() if weights is not None else ():
        columns = lists.columns(name)
        if columns.stop - columns.start != len(values):
            raise WeightsError(
                f"initial weights of {name} do not fit",
                where=lists.source,
                expected=f"{columns.stop - columns.start} weights",
                got=f"{len(values)}",
            )
        first[columns] = values
    bounds = np.tile([-np.inf, np.inf], (width, 1))
    for argument in fixed:
        name, _, number = argument.rpartition("=")
        try:
            first[lists.columns(name)] = float(number)
        except ValueError:
            raise ConfigError("--fix needs a number", expected="NAME=WEIGHT", got=shorten(argument)) from None
        bounds[lists.columns(name)] = float(number)
    return first, bounds if fixed else None
