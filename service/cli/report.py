"""nbest report: weights, list depth and changed segments on one page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import check_new_names, open_scorers, read_lists, read_weights_for

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.metrics import Metric
    from rescoring.study import Study


@click.command()
@options.lists_argument
@options.references
@options.metric
@click.option(
    "--weights", required=True, metavar="FILE", help="A weight set of `nbest tune`, or a moses.ini."
)
@options.lm
@options.self_normalized
@options.precision
@options.add_feature
@options.list_format
@options.features
@options.words
@options.beam_size
@options.model_text
@options.filters
@options.by
@options.cluster
@options.samples
@options.seed
@options.as_json
@options.out("The report: one HTML file that needs nothing else.", "--html", "--out", "html", required=True)
def report(
    lists: str,
    references: tuple[str, ...],
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    weights: str,
    lms: tuple[str, ...],
    self_normalized: bool,
    precision: "Precision",
    external: tuple[str, ...],
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    beam_size: int | None,
    text: str | None,
    text_filter: str,
    reference_filter: str,
    groupings: tuple[str, ...],
    cluster: str | None,
    samples: int,
    seed: int,
    as_json: bool,
    html: str,
) -> None:
    """Show on one HTML page what weights make of LISTS, and what the lists would allow.

    The score against each weight around where it stands; the 1-best against the oracle by list depth; the
    lists' own order, that is the decoder's, beside the weights', with intervals and tests; breakdowns; the
    most improved and the most harmed segments word by word. The same is printed, without the segments, as
    tables or JSON.
    """
    from nbest.files import write_whole
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric
    from rescoring.parallel import processors
    from rescoring.reporting.ranked import TUNED, report_page
    from rescoring.study import study
    from rescoring.tuning.fingerprint import tuned_on
    from service.cli import breakdowns
    from service.cli.filters import Filters

    measure = get_metric(metric_name, tokenize, lowercase, processors())
    filters = Filters.named(text_filter, reference_filter)
    found = read_lists(lists, list_format, features, words_txt, beam_size)
    chosen = read_weights_for(weights, found)
    plain = read_references(references, found)
    compared = filters.references(plain)
    clusters = breakdowns.clusters(cluster, found.ids)
    groups = breakdowns.named_groups(groupings, found.ids, compared)
    scorers = open_scorers(lms, self_normalized=self_normalized, precision=precision)
    check_new_names(found, scorers)
    given = [parse_external(argument) for argument in external]
    ranked = pipeline.rescore(found, scorers, chosen, external=given, text=text)
    result = study(
        ranked,
        filters.texts(ranked.lists.texts),
        compared,
        measure,
        groups=groups,
        clusters=clusters,
        samples=samples,
        seed=seed,
    )
    units = "segments" if clusters is None else "clusters"
    same = tuned_on(chosen, found, plain)
    warnings = [*ranked.warnings, *([TUNED] if same else [])]
    if warning := breakdowns.few_units(result.comparison.units, units):
        warnings.append(warning)
    resampled = "" if clusters is None else f"|clusters:{result.comparison.units}"
    digests = {scorer.name: scorer.digest for scorer in scorers}
    signature = (
        f"{measure.signature_for(compared)}|bootstrap:{samples}|seed:{seed}{resampled}{filters.signature}"
        f"{'|data:tuned-on' if same else ''}"
        f"|{pipeline.ranking_signature(chosen, digests, Path(weights).name, text)}"
    )
    page = report_page(
        result,
        Path(lists).name,
        Path(weights).name,
        found.ids,
        compared,
        len(found.texts),
        measure,
        signature,
        units,
        warnings,
    )
    with write_whole(html) as stream:
        stream.write(page.encode())
    for warning in warnings:
        click.echo(f"nbest: warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(_document(result, measure, signature), indent=1))
    else:
        click.echo("\n".join(_lines(result, measure, signature)))


def _lines(found: "Study", metric: "Metric", signature: str) -> list[str]:
    from rescoring.oracle import said
    from rescoring.reporting.compared import p_said
    from rescoring.study import AFTER, BEFORE
    from service.cli.breakdowns import breakdown_lines
    from service.cli.tables import table

    versus, whole = found.comparison, found.depths[-1]
    near = versus.interval
    rows = [
        (
            curve.name,
            f"{curve.weight:.4g}",
            f"{curve.score:.2f}",
            "{1:.2f} at {0:.4g}".format(*curve.best(larger_is_better=metric.larger_is_better)),
        )
        for curve in found.curves
    ]
    return [
        f"{metric.name} {versus.second.mean:.2f}  {BEFORE} {versus.first.mean:.2f}  difference "
        f"{versus.difference:+.2f}  {near.confidence:.0%} [{near.low:+.2f}, {near.high:+.2f}]  "
        f"p {p_said(versus.verdict('randomization').p_value)}",
        f"oracle {whole.oracle:.2f} ({said(exact=whole.exact)})",
        "",
        *table(["weight of", "", metric.name, "best in view"], rows),
        "",
        *table(
            ["hypotheses", metric.name, "oracle"],
            [(str(one.depth), f"{one.best:.2f}", f"{one.oracle:.2f}") for one in found.depths],
        ),
        *(line for one in found.breakdowns for line in ("", *breakdown_lines(one, metric, [BEFORE, AFTER]))),
        "",
        f"signature {signature}",
    ]


def _document(found: "Study", metric: "Metric", signature: str) -> dict[str, object]:
    from dataclasses import asdict

    from service.cli.breakdowns import breakdown_document, confusion_document
    from service.cli.compare import comparison_document

    return {
        **comparison_document(found.comparison, metric),
        "weights": [
            {
                "column": curve.name,
                "weight": curve.weight,
                "score": curve.score,
                "values": curve.values.tolist(),
                "scores": curve.scores.tolist(),
            }
            for curve in found.curves
        ],
        "constant_columns": list(found.constant),
        "depths": [asdict(one) for one in found.depths],
        "breakdowns": [breakdown_document(one) for one in found.breakdowns],
        "confusions": None if found.confusions is None else confusion_document(found.confusions),
        "improved": found.changes.improved.tolist(),
        "harmed": found.changes.harmed.tolist(),
        "gains": found.changes.gains.tolist(),
        "signature": signature,
    }
