"""nbest tune: lists and references in, feature weights out."""

import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import click

from nbest.errors import ConfigError, shorten
from service.cli import options
from service.cli.loading import check_new_names, open_scorers, read_lists, read_weights_for, say_features
from service.cli.optimizers import parse_fixed, parse_ranges, parse_values
from service.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.tuning.constraints import Constraints
    from rescoring.tuning.result import Tuned
    from service.optimizers import Settings


WORTH_PROCESSES = 200_000  # hypotheses times descents: less is done before another process has begun


@click.command()
@options.lists_argument
@options.references
@options.lm
@options.self_normalized
@options.precision
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
    callback=parse_fixed,
    metavar="NAME=WEIGHT",
    help="Keep this weight. May repeat.",
)
@click.option(
    "--range",
    "ranges",
    multiple=True,
    callback=parse_ranges,
    metavar="NAME=LOW:HIGH",
    help="Keep this weight between LOW and HIGH, either of which may be left out. May repeat.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME,NAME",
    help="Keep the ratios of these weights as they are at the start. May repeat.",
)
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    default="mert",
    show_default=True,
    help="mert: exact line searches; risk: the expected metric, stable; mira: batch MIRA; grid: Kaldi's "
    "LMWT by word insertion penalty; choose: the best of all but the grid on held-out folds of LISTS.",
)
@click.option(
    "--l2",
    type=click.FloatRange(0),
    help="mert and risk: penalty on large or far weights. [mert: 0, risk: 0.003]",
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="choose: parts of LISTS.")
@click.option(
    "--acoustic", default="ac", show_default=True, metavar="NAME", help="grid: the acoustic feature."
)
@click.option(
    "--lmwt",
    default="7:17",
    show_default=True,
    callback=parse_values,
    metavar="LOW:HIGH",
    help="grid: LM weights.",
)
@click.option(
    "--wip",
    default="0,0.5,1",
    show_default=True,
    callback=parse_values,
    metavar="P,P",
    help="grid: word insertion penalties.",
)
@click.option("--mix", metavar="OLD,NEW", help="grid: two language models that share the weight of one.")
@click.option(
    "--merge",
    "others",
    multiple=True,
    metavar="LISTS",
    help="Lists of another decoder run to add. May repeat.",
)
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Tune so often, each time with the next seed: mean and spread are said, the best weights written.",
)
@click.option(
    "--jobs", type=click.IntRange(1), help="Processes; by default all processors, if there is much to do."
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
    precision: "Precision",
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
    ranges: dict[str, tuple[float, float]],
    groups: tuple[str, ...],
    optimizer: str,
    l2: float | None,
    folds: int,
    acoustic: str,
    lmwt: tuple[float, ...],
    wip: tuple[float, ...],
    mix: str | None,
    others: tuple[str, ...],
    runs: int,
    jobs: int | None,
    restarts: int,
    seed: int,
    out: str,
) -> None:
    """Find the weights of LISTS' features and of the models' scores that make the best hypotheses win.

    The decoder's total takes no part: it is a sum of the others. Scores on these lists are optimistic;
    evaluate on other data. Progress goes to standard error.
    """
    from nbest.signature import signature
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric
    from rescoring.oracle import oracle
    from rescoring.parallel import processors
    from rescoring.text import DEFAULT_PIPELINE, get_pipeline
    from rescoring.tuning.constraints import Constraints, constrained
    from rescoring.tuning.merged import merged
    from rescoring.weights import Model, WeightSet, write_weights
    from service.cli.filters import Filters
    from service.optimizers import Grid, Settings
    from service.tuning import Plan, Watch, columns_only, record, search, start

    settings = Settings(optimizer, restarts, seed, l2, jobs or 1)
    rules = Constraints(fixed, ranges, [group.split(",") for group in groups])
    mixed = _check(settings, rules, runs, mix)
    measure = get_metric(metric_name, tokenize, lowercase, jobs or processors())
    prepared = get_pipeline(text or DEFAULT_PIPELINE).name
    filters = Filters.named(text_filter, reference_filter)
    given = [parse_external(argument) for argument in external]
    read = [read_lists(one, list_format, features, words_txt, beam_size) for one in (lists, *others)]
    found = merged(read) if others else read[0]
    if others and given:
        raise ConfigError("score files are for one file of lists", where="--merge", got="--add-feature")
    known = read_weights_for(initial, found) if initial is not None else None
    unfiltered = read_references(references, read[0])  # merged lists have the same segments
    texts = filters.references(unfiltered)
    scorers = open_scorers(lms, self_normalized=self_normalized, precision=precision)
    check_new_names(found, scorers)
    names = [name for name, _ in given]
    schema = pipeline.tunable_schema(pipeline.full_schema(found, scorers, names))
    first = start(known, schema, found.source)
    constrained(columns_only(schema, found.source), first, rules)  # wrong names are said before scoring
    counts = measure.counts(filters.texts(found.texts), found.segments, texts)  # (N, K)
    bound = oracle(counts, found.offsets, measure)
    stands = float(measure.score(counts[found.offsets[:-1]].sum(axis=0)))
    best = f"{'' if bound.exact else 'at least '}{bound.score:.2f}"
    columns = sum(feature.width for feature in schema)
    _say(f"{len(found)} lists, {len(found.texts)} hypotheses, {columns} weights to tune")
    say_features(found, schema)
    _say(f"{measure.name} {stands:.2f} as the lists stand, {best} by the oracle")
    if jobs is None and len(found.texts) * restarts * runs > WORTH_PROCESSES:
        settings = replace(settings, jobs=processors())
    full = pipeline.tunable(pipeline.assemble(found, scorers, given, prepared))
    began = time.monotonic()

    def progress(done: int, so_far: "Tuned") -> None:
        if so_far.descents and done in (1, *(restarts * quarter // 4 for quarter in (1, 2, 3))):
            seconds = time.monotonic() - began
            _say(f"{measure.name} {so_far.score:.2f} after {done} of {restarts} descents, {seconds:.0f} s")

    def chosen(held_out: Mapping[str, float]) -> None:
        for name, score in held_out.items():
            _say(f"{measure.name} {score:.2f} held out on {folds} folds: {name}")

    plan = Plan(settings, rules, Grid(acoustic, lmwt, wip, mixed), folds, runs)
    tuned = search(full, counts, first, measure, plan, Watch(step=progress, chosen=chosen))
    if tuned.table:
        _say(tuned.table)
    signed = f"{signature({})}|{measure.signature_for(texts)}{filters.signature}"
    written = record(tuned, measure.name, signed, found, unfiltered)
    models = [Model(scorer.name, scorer.digest) for scorer in scorers]
    write_weights(WeightSet.from_vector(tuned.vector, full.schema, models, prepared, written), out)
    if tuned.constant:
        _say(f"the same throughout every list, so without weight: {', '.join(tuned.constant)}")
    _say(f"{measure.name} {tuned.initial_score:.2f} at the start, {tuned.score:.2f} tuned")
    if runs > 1:
        scores = tuned.scores
        spread = f"standard deviation {stdev(scores):.2f}, {min(scores):.2f} to {max(scores):.2f}"
        _say(f"{measure.name} of {runs} runs: mean {fmean(scores):.2f}, {spread}")
    _say(f"signature {signed}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _check(settings: "Settings", rules: "Constraints", runs: int, mix: str | None) -> tuple[str, str] | None:
    """The two names of --mix; raises ConfigError for options that do not go together."""
    if runs > 1 and settings.optimizer in ("grid", "risk"):
        raise ConfigError(
            f"{settings.optimizer} has no seed: every run is the same",
            where="--runs",
            expected="1",
            got=str(runs),
        )
    if settings.optimizer == "grid" and (rules.fixed or rules.ranges or rules.groups or settings.l2):
        raise ConfigError(
            "the grid has its own rules",
            where="--optimizer grid",
            expected="no --fix, --range, --group, --l2",
        )
    if mix is None:
        return None
    old, comma, new = mix.partition(",")
    if settings.optimizer != "grid" or not comma or not old or not new or "," in new or old == new:
        raise ConfigError(
            "not a mixture", where="--mix", expected="OLD,NEW with --optimizer grid", got=shorten(mix)
        )
    return old, new
