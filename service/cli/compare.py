"""nbest compare: whether one system is better than another, or was luckier."""

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli import options

if TYPE_CHECKING:
    from rescoring.breakdown import Breakdown
    from rescoring.comparison import Comparison, System, Verdict
    from rescoring.metrics import Metric


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@options.references
@options.metric
@options.output_format("all outputs")
@options.by
@options.cluster
@options.samples
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=10000,
    show_default=True,
    help="Of approximate randomization.",
)
@options.seed
@options.words
@options.beam_size
@options.filters
@options.detokenize
@options.as_json
@options.out("Also write a report: one HTML file that needs nothing else.", "--html", default=None)
def compare(
    first: str,
    second: str,
    references: tuple[str, ...],
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    output_format: str | None,
    groupings: tuple[str, ...],
    cluster: str | None,
    samples: int,
    trials: int,
    seed: int,
    words_txt: str | None,
    beam_size: int | None,
    text_filter: str,
    reference_filter: str,
    detokenize: bool,
    as_json: bool,
    html: str | None,
) -> None:
    """Compare system B with system A on the same references.

    A and B are outputs as `nbest evaluate` reads them; of a system that was tuned several times a pattern in
    quotes, such as 'base.*.hyp', stands for the outputs of all its runs. Then scores are means over runs, and
    the tests and intervals know how far runs differ by chance alone.

    Approximate randomization exchanges the segments' outputs at random between A and B; the paired bootstrap
    draws segments with replacement; MAPSSWE (WER, one output each) is NIST's matched-pairs test; with several
    runs of both, whole runs change sides too. A p-value says how often chance alone makes a difference as
    large.
    """
    from rescoring.breakdown import breakdown
    from rescoring.comparison import Run
    from rescoring.comparison import compare as run
    from rescoring.metrics import get_metric
    from service.cli import breakdowns
    from service.cli.filters import Filters
    from service.cli.outputs import Output, in_order_of, read_output

    measure = get_metric(metric_name, tokenize, lowercase)
    filters = Filters.named(text_filter, reference_filter, detokenize=detokenize)
    places = [_outputs(pattern) for pattern in (first, second)]
    outputs: dict[str, Output] = {}
    for place in (place for several in places for place in several):
        if place in outputs:
            continue
        words_of = words_txt if Path(place).is_dir() else None
        read = filters.output(read_output(place, references, output_format, words_of, beam_size))
        outputs[place] = in_order_of(next(iter(outputs.values()), read), read)
    base = outputs[places[0][0]]
    clusters = breakdowns.clusters(cluster, base.ids)
    groups = breakdowns.named_groups(groupings, base.ids, base.references)
    runs = [
        [Run(place, outputs[place].hypotheses, outputs[place].references) for place in several]
        for several in places
    ]
    found = run(runs[0], runs[1], measure, samples, seed, trials, clusters)
    parts = [
        breakdown(one, measure, found.first.counts, found.second.counts, samples=samples, seed=seed)
        for one in groups
    ]
    units = "segments" if clusters is None else "clusters"
    if warning := breakdowns.few_units(found.units, units):
        click.echo(f"nbest: warning: {warning}", err=True)
    resampled = "" if clusters is None else f"|clusters:{found.units}"
    signature = (
        f"{found.signature}|bootstrap:{samples}|trials:{trials}|seed:{seed}{resampled}{filters.signature}"
    )
    if html is not None:
        from nbest.files import write_whole
        from rescoring.reporting.compared import comparison_page

        page = comparison_page(
            (first, second), base.ids, (runs[0], runs[1]), found, parts, measure, signature, units
        )
        with write_whole(html) as stream:
            stream.write(page.encode())
    if as_json:
        document = {
            **comparison_document(found, measure),
            "breakdowns": [breakdowns.breakdown_document(one) for one in parts],
            "signature": signature,
        }
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo("\n".join(_lines(found, (first, second), parts, measure, signature, units)))


def _outputs(pattern: str) -> list[str]:
    """The files of one system: the one of that name, or all that the pattern matches, sorted."""
    from nbest.errors import NotFoundError

    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern))  # noqa: PTH207 - an absolute pattern may come
    if not found:
        raise NotFoundError("no file matches the pattern", where=pattern, expected="at least one")
    return found


def _lines(
    found: "Comparison",
    names: tuple[str, str],
    parts: "Sequence[Breakdown]",
    metric: "Metric",
    signature: str,
    units: str,
) -> list[str]:
    from service.cli.breakdowns import MOST_COUNTS, breakdown_lines
    from service.cli.tables import table

    near = found.interval
    better = "larger is better" if metric.larger_is_better else "smaller is better"
    several = max(len(found.first.scores), len(found.second.scores)) > 1
    counts = metric.count_names if len(metric.count_names) <= MOST_COUNTS else ()
    header = ["", metric.name, f"{near.confidence:.0%} interval"]
    header += ["runs", "deviation", "lowest", "highest"] if several else []
    rows = [
        [letter, *_scores(system, several), *_counts(system, len(counts))]
        for letter, system in (("A", found.first), ("B", found.second))
    ]
    lines = table([*header, *counts], rows)
    lines += [
        f"A is {names[0]}, B is {names[1]}; {better}",
        "",
        f"B - A  {found.difference:+.2f}  {near.confidence:.0%} [{near.low:+.2f}, {near.high:+.2f}] over "
        f"{found.units} {units}",
    ]
    if found.interval_with_runs is not None:
        wide = found.interval_with_runs
        lines.append(
            f"{'':5}  {'':{len(f'{found.difference:+.2f}')}}  {wide.confidence:.0%} "
            f"[{wide.low:+.2f}, {wide.high:+.2f}] over {units} and runs"
        )
    lines += ["", *table(["test", "p", ""], [_verdict_row(one) for one in found.tests], left=(0, 2))]
    for one in parts:
        lines += ["", *breakdown_lines(one, metric, ["A", "B"])]
    return [*lines, "", f"signature {signature}"]


def _scores(system: "System", several: bool) -> list[str]:
    near = system.interval
    cells = [f"{system.mean:.2f}", f"[{near.low:.2f}, {near.high:.2f}]"]
    if several:
        deviation = "-" if system.deviation is None else f"{system.deviation:.2f}"
        ends = (f"{min(system.scores):.2f}", f"{max(system.scores):.2f}")
        cells += [str(len(system.scores)), deviation, *ends]
    return cells


def _counts(system: "System", many: int) -> list[str]:
    """The first `many` counts of a run; of several runs their mean."""
    digits = 1 if len(system.scores) > 1 else 0
    return [f"{count:.{digits}f}" for count in system.counts.sum(axis=1).mean(axis=0)[:many].tolist()]


def _verdict_row(one: "Verdict") -> list[str]:
    from rescoring.reporting.compared import TESTS, p_said

    return [TESTS[one.test], p_said(one.p_value), one.said]


def comparison_document(found: "Comparison", metric: "Metric") -> dict[str, object]:
    """As JSON has it."""
    from dataclasses import asdict

    wide = found.interval_with_runs
    return {
        "metric": metric.name,
        "larger_is_better": metric.larger_is_better,
        "a": _system_document(found.first, metric),
        "b": _system_document(found.second, metric),
        "difference": found.difference,
        "interval": [found.interval.low, found.interval.high],
        "interval_with_runs": None if wide is None else [wide.low, wide.high],
        "confidence": found.interval.confidence,
        "resampled_units": found.units,
        "tests": [asdict(one) for one in found.tests],
    }


def _system_document(system: "System", metric: "Metric") -> dict[str, object]:
    totals = system.counts.sum(axis=1).tolist()  # (R, K)
    return {
        "outputs": list(system.names),
        "scores": list(system.scores),
        "counts": [dict(zip(metric.count_names, one, strict=True)) for one in totals],
        "mean": system.mean,
        "deviation": system.deviation,
        "interval": [system.interval.low, system.interval.high],
    }
