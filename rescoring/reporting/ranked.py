"""The page of `nbest report`: what a weight set does to lists, and what the lists would allow."""

from collections.abc import Sequence

from rescoring.metrics.base import Metric, References
from rescoring.oracle import said
from rescoring.reporting.changes import Texts, changed_segments
from rescoring.reporting.compared import (
    breakdown_section,
    confusions_section,
    difference_tile,
    direction,
    ends,
    tests_section,
)
from rescoring.reporting.markup import Markup, joined, tag
from rescoring.reporting.page import page, section, table, tiles
from rescoring.reporting.plot import Axis, Line, plot, scale
from rescoring.study import AFTER, BEFORE, Study
from rescoring.weight_curves import WeightCurve

TUNED = (
    "The weights were tuned on these lists or references: their score here is optimistic. Report a score on "
    "other data."
)


def report_page(
    found: Study,
    source: str,
    weights: str,
    ids: Sequence[str],
    references: References,
    hypotheses: int,
    metric: Metric,
    signature: str,
    units: str,
    warnings: Sequence[str] = (),
) -> str:
    """The HTML report of a ranking; `source` and `weights` are what lists and weights are called."""
    comparison, whole = found.comparison, found.depths[-1]
    texts = Texts(ids, references, found.outputs, (BEFORE, AFTER))
    sections = [
        section(
            "Scores",
            *(tag("p", warning, class_="warning", role="note") for warning in warnings),
            tiles(
                ("These weights", f"{comparison.second.mean:.2f}", ends(comparison.second.interval)),
                ("The lists' own order", f"{comparison.first.mean:.2f}", ends(comparison.first.interval)),
                difference_tile(comparison, units),
                ("Oracle", f"{whole.oracle:.2f}", said(exact=whole.exact)),
            ),
            note=direction(metric),
        ),
        _weights(found, metric),
        _depths(found, metric),
        tests_section(comparison, units),
        *(breakdown_section(part, metric, (BEFORE, AFTER)) for part in found.breakdowns),
    ]
    if found.confusions is not None:
        sections.append(confusions_section(found.confusions, AFTER))
    sections.append(changed_segments(texts, found.changes))
    title = f"{metric.name.upper()} of {source}"
    return page(title, f"{len(ids)} lists, {hypotheses} hypotheses; weights: {weights}", sections, signature)


def _weights(found: Study, metric: Metric) -> Markup:
    if not found.curves:
        return section("Score against each weight", tag("p", "No column changes a ranking."))
    lows = [float(curve.scores.min()) for curve in found.curves]
    highs = [float(curve.scores.max()) for curve in found.curves]
    vertical = scale(min(lows), max(highs))  # one for all: which weights matter is seen at a glance
    rows = [_curve_row(curve, metric) for curve in found.curves]
    header = ("column", "weight", "score", "best in view", "at", "lowest", "highest")
    numbers = tag("details", tag("summary", "The curves in numbers"), table(header, rows))
    constant = []
    if found.constant:
        names = ", ".join(found.constant)
        constant = [tag("p", f"The same in every list, so that no weight matters: {names}.", class_="soft")]
    return section(
        "Score against each weight",
        tag("div", joined(*(_curve(curve, vertical, metric) for curve in found.curves)), class_="curves"),
        numbers,
        *constant,
        note="Each weight moves alone, the others stay; the dot is where it stands. Scores are exact, of "
        "these lists and references: a better point here is no promise elsewhere. The weight that matters "
        "most comes first, and all plots have one scale.",
    )


def _curve(curve: WeightCurve, vertical: Axis, metric: Metric) -> Markup:
    low, high = float(curve.values[0]), float(curve.values[-1])
    ticks = [(value, f"{value:.3g}") for value in (low, curve.weight, high)]
    at, best = curve.best(larger_is_better=metric.larger_is_better)
    better = (
        f"; best in view {best:.2f} at {at:.3g}" if best != curve.score else "; nothing in view is better"
    )
    where = f"{curve.score:.2f} at {curve.weight:.4g}{better}"
    drawn = plot(
        Axis(low, high, ticks),
        vertical,
        [Line(list(zip(curve.values.tolist(), curve.scores.tolist(), strict=True)), "mine")],
        title=f"{metric.name} against the weight of {curve.name}: {where}",
        mark=(curve.weight, curve.score),
    )
    return tag("figure", tag("figcaption", tag("b", curve.name), Markup("<br>"), where), drawn)


def _curve_row(curve: WeightCurve, metric: Metric) -> tuple[str, ...]:
    at, best = curve.best(larger_is_better=metric.larger_is_better)
    ends_of = (float(curve.scores.min()), float(curve.scores.max()))
    return (
        curve.name,
        f"{curve.weight:.4g}",
        f"{curve.score:.2f}",
        f"{best:.2f}",
        f"{at:.4g}",
        *(f"{one:.2f}" for one in ends_of),
    )


def _depths(found: Study, metric: Metric) -> Markup:
    depths = found.depths
    places = range(len(depths))
    horizontal = Axis(-0.2, len(depths) - 0.8, [(k, str(depths[k].depth)) for k in places])
    values = [value for one in depths for value in (one.best, one.oracle)]
    lines = [
        Line([(k, depths[0].best) for k in (-0.2, len(depths) - 0.8)], "before"),
        Line([(k, depths[k].oracle) for k in places], "ideal", dots=True),
        Line([(k, depths[k].best) for k in places], "mine", dots=True),
    ]
    key = [("mine", AFTER), ("ideal", "oracle"), ("before", BEFORE)]
    legend = tag(
        "ul",
        joined(*(tag("li", _stroke(style), name) for style, name in key)),
        class_="key",
    )
    title = f"{metric.name} of the 1-best and of the oracle by list depth; the table has the numbers"
    drawn = plot(horizontal, scale(min(values), max(values)), lines, title=title)
    rows = [
        (
            str(one.depth),
            f"{one.best:.2f}",
            f"{'' if one.exact else '≥ ' if metric.larger_is_better else '≤ '}{one.oracle:.2f}",
        )
        for one in depths
    ]
    return section(
        "1-best against oracle by list depth",
        tag(
            "div",
            tag("figure", legend, drawn, class_="one-plot"),
            table(("hypotheses", AFTER, "oracle"), rows),
            class_="beside",
        ),
        note="Lists cut to their first hypotheses, in the lists' own order. "
        f"Oracle: {said(exact=depths[-1].exact)}.",
    )


def _stroke(style: str) -> Markup:
    line = tag("line", x1=1, x2=31, y1=5, y2=5, class_=f"line {style}")
    return tag("svg", line, viewBox="0 0 32 10", aria_hidden="true", class_="plot")
