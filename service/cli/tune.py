"""nbest tune: lists and references in, feature weights out."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import check_new_names, open_scorers, read_lists, read_weights_for, say_features

if TYPE_CHECKING:
    from rescoring.loglinear import Floats
    from rescoring.nbest import Feature
    from rescoring.weights import WeightSet


def _parse_fixed(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    from nbest.errors import ConfigError, shorten
    from rescoring.formats.numbers import finite

    fixed: dict[str, float] = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        if not (name and equals):
            raise ConfigError("not a weight", where="--fix", expected="NAME=WEIGHT", got=shorten(value))
        if name in fixed:
            raise ConfigError("a weight is fixed twice", where="--fix", got=shorten(name))
        fixed[name] = finite(number, f"the weight of {shorten(name)}", "--fix")
    return fixed


@click.command()
@options.lists_argument
@options.references
@options.lm
@options.self_normalized
@options.metric
@options.list_format
@options.features
@options.words
@options.add_feature
@options.filters
@options.beam_size
@options.model_text
@click.option("--initial", metavar="FILE", help="Where to start: a weight set or a moses.ini; else all ones.")
@click.option(
    "--fix",
    "fixed",
    multiple=True,
    callback=_parse_fixed,
    metavar="NAME=WEIGHT",
    help="Keep this weight. May repeat.",
)
@click.option("--restarts", type=click.IntRange(1), default=20, show_default=True, help="Descents to make.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Of the random starts and directions.",
)
@options.out("Where the weight set goes; standard output by default.")
def tune(
    lists: str,
    references: tuple[str, ...],
    lms: tuple[str, ...],
    self_normalized: bool,
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    external: tuple[str, ...],
    text_filter: str,
    reference_filter: str,
    beam_size: int | None,
    text: str | None,
    initial: str | None,
    fixed: dict[str, float],
    restarts: int,
    seed: int,
    out: str,
) -> None:
    """Find the weights of LISTS' features and of the models' scores by minimum error rate training.

    The decoder's total takes no part: it is a sum of the others. Scores on these lists are optimistic;
    evaluate on other data. Progress goes to standard error.
    """
    from nbest.signature import signature
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric
    from rescoring.oracle import oracle
    from rescoring.text import DEFAULT_PIPELINE, get_pipeline
    from rescoring.tuning import fingerprint, mert
    from rescoring.weights import Model, Tuning, WeightSet, write_weights
    from service.cli.filters import Filters

    measure = get_metric(metric_name, tokenize, lowercase)
    prepared = get_pipeline(text or DEFAULT_PIPELINE).name
    filters = Filters.named(text_filter, reference_filter)
    given = [parse_external(argument) for argument in external]
    found = read_lists(lists, list_format, features, words_txt, beam_size)
    known = read_weights_for(initial, found) if initial is not None else None
    unfiltered = read_references(references, found)
    texts = filters.references(unfiltered)
    scorers = open_scorers(lms, self_normalized=self_normalized)
    check_new_names(found, scorers)
    schema = pipeline.tunable_schema(pipeline.full_schema(found, scorers, given))
    first, bounds = _start(known, fixed, schema, found.source)
    counts = measure.counts(filters.texts(found.texts), found.segments, texts)  # (N, K)
    bound = oracle(counts, found.offsets, measure)
    stands = float(measure.score(counts[found.offsets[:-1]].sum(axis=0)))
    best = f"{'' if bound.exact else 'at least '}{bound.score:.2f}"
    columns = sum(feature.width for feature in schema)
    _say(f"{len(found)} lists, {len(found.texts)} hypotheses, {columns} weights to tune")
    say_features(found, schema)
    _say(f"{measure.name} {stands:.2f} as the lists stand, {best} by the oracle")
    full = pipeline.tunable(pipeline.assemble(found, scorers, given, prepared))
    began = time.monotonic()

    def progress(done: int, so_far: mert.Tuned) -> None:
        if done in (1, *(restarts * quarter // 4 for quarter in (1, 2, 3))):
            seconds = time.monotonic() - began
            _say(f"{measure.name} {so_far.score:.2f} after {done} of {restarts} descents, {seconds:.0f} s")

    tuned = mert.tune(
        full,
        counts,
        measure,
        first,
        restarts=restarts,
        seed=seed,
        ranges=bounds,
        progress=progress,
    )
    signed = f"{signature({})}|{measure.signature_for(texts)}{filters.signature}"
    record = Tuning(
        metric=measure.name,
        signature=signed,
        score=tuned.score,
        lists_sha256=fingerprint.lists_sha256(found),
        references_sha256=fingerprint.references_sha256(unfiltered),
        optimizer="mert",
        restarts=restarts,
        seed=seed,
    )
    models = [Model(scorer.name, scorer.digest) for scorer in scorers]
    write_weights(WeightSet.from_vector(tuned.vector, full.schema, models, prepared, record), out)
    if tuned.constant:
        _say(f"the same throughout every list, so without weight: {', '.join(tuned.constant)}")
    _say(f"{measure.name} {tuned.initial_score:.2f} at the start, {tuned.score:.2f} tuned")
    _say(f"signature {signed}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _start(
    weights: "WeightSet | None", fixed: dict[str, float], schema: "Sequence[Feature]", source: str
) -> "tuple[Floats | None, Floats | None]":
    """(F,) where to start and (F, 2) the bounds of each weight; None for the tuner's own choice.

    A feature that `weights` do not name starts at 0; a fixed weight is both of its bounds. Raises
    FeatureError for an unknown name, WeightsError for another number of weights.
    """
    import numpy as np

    from nbest.errors import FeatureError, WeightsError, shorten

    given = weights.features if weights is not None else {}
    widths = {feature.name: feature.width for feature in schema}
    for name in (*given, *fixed):
        if name not in widths:
            raise FeatureError(
                f"unknown feature {shorten(name)}", where=source, expected=f"one of {', '.join(widths)}"
            )
    for name, values in given.items():
        if len(values) != widths[name]:
            raise WeightsError(
                f"initial weights of {name} do not fit",
                where=source,
                expected=f"{widths[name]} weights",
                got=f"{len(values)}",
            )
    if weights is None and not fixed:
        return None, None
    default = 1.0 if weights is None else 0.0
    first: list[float] = []
    bounds: list[tuple[float, float]] = []
    for name, width in widths.items():
        keep = fixed.get(name)
        first += [keep] * width if keep is not None else given.get(name, (default,) * width)
        bounds += [(-np.inf, np.inf) if keep is None else (keep, keep)] * width
    return np.array(first), np.array(bounds) if fixed else None
