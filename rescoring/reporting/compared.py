"""What a comparison of two systems looks like on a page, and the page of one."""

from collections.abc import Sequence

from rescoring.alignment import Confusions
from rescoring.breakdown import Breakdown
from rescoring.comparison import Comparison, Run, System
from rescoring.metrics.base import Metric
from rescoring.reporting.changes import MOST, Texts, changed_segments
from rescoring.reporting.markup import Markup, joined, tag
from rescoring.reporting.page import page, section, table, tiles
from rescoring.segment_changes import extremes, segment_gains
from rescoring.significance import Interval

TESTS = {
    "randomization": "approximate randomization",
    "bootstrap": "paired bootstrap",
    "mapsswe": "matched pairs (MAPSSWE)",
    "runs": "runs exchanged",
}


def comparison_page(
    names: tuple[str, str],
    ids: Sequence[str],
    runs: tuple[Sequence[Run], Sequence[Run]],
    found: Comparison,
    parts: Sequence[Breakdown],
    metric: Metric,
    signature: str,
    units: str,
) -> str:
    """The HTML report of `nbest compare`: scores, tests, breakdowns, changed segments of the first runs."""
    letters = ("A", "B")
    first, second = runs[0][0], runs[1][0]
    changes = extremes(segment_gains(found.first.counts, found.second.counts, metric), MOST)
    texts = Texts(ids, first.references, (first.hypotheses, second.hypotheses), letters)
    sections = [
        section(
            "Scores",
            tiles(
                *(
                    (f"{letter}: {name}", f"{system.mean:.2f}", _system_said(system))
                    for letter, name, system in zip(letters, names, (found.first, found.second), strict=True)
                ),
                difference_tile(found, units),
            ),
            note=direction(metric),
        ),
        tests_section(found, units),
    ]
    if max(len(runs[0]), len(runs[1])) > 1:
        sections.append(_runs_section(found))
    sections += [breakdown_section(part, metric, letters) for part in parts]
    sections.append(changed_segments(texts, changes))
    title = f"{metric.name.upper()}: A and B compared"
    return page(title, f"A is {names[0]}, B is {names[1]}; {len(ids)} segments", sections, signature)


def direction(metric: Metric) -> str:
    """Which way is better."""
    return f"{metric.name.upper()}, {'larger' if metric.larger_is_better else 'smaller'} is better."


def p_said(p_value: float | None) -> str:
    """A p-value in four digits; a smaller one is said to be so."""
    if p_value is None:
        return "-"
    return f"{p_value:.4f}" if p_value >= 0.00005 else "< 0.0001"


def ends(interval: Interval, sign: str = "") -> str:
    """An interval in words."""
    return f"{interval.confidence:.0%} interval {interval.low:{sign}.2f} to {interval.high:{sign}.2f}"


def difference_tile(found: Comparison, units: str) -> tuple[str, str, str]:
    """The difference, its interval and the first p-value."""
    chance = found.verdict("randomization")
    return (
        "Difference",
        f"{found.difference:+.2f}",
        f"{ends(found.interval, '+')} over {found.units} {units}; p {p_said(chance.p_value)}",
    )


def tests_section(found: Comparison, units: str) -> Markup:
    """The tests with their p-values."""
    rows = [(TESTS[one.test], p_said(one.p_value), one.said) for one in found.tests]
    said = []
    if found.interval_with_runs is not None:
        wide = f"{ends(found.interval_with_runs, '+')} of the difference, over {units} and runs"
        said.append(tag("p", wide))
    return section(
        "Is it chance?",
        *said,
        table(("test", "p", ""), rows, words=(2,)),
        note="How often chance alone makes a difference as large, in either direction.",
    )


def breakdown_section(part: Breakdown, metric: Metric, names: Sequence[str]) -> Markup:
    """One breakdown of two systems."""
    rows = [
        (
            group.label,
            str(group.segments),
            *(f"{score:.2f}" for score in group.scores),
            f"{group.scores[-1] - group.scores[0]:+.2f}",
            f"{group.interval.low:+.2f} to {group.interval.high:+.2f}" if group.interval else "-",
        )
        for group in part.groups
    ]
    return section(f"By {part.by}", table((part.by, "segments", *names, "difference", "95% interval"), rows))


def confusions_section(found: Confusions, name: str) -> Markup:
    """The commonest errors of one system."""
    tables = [
        table(
            ("reference", "became", "times"),
            [(first, second, str(times)) for (first, second), times in found.substitutions],
            "Substitutions",
            words=(1,),
        ),
        table(("reference", "times"), [(word, str(times)) for word, times in found.deletions], "Deletions"),
        table(("word", "times"), [(word, str(times)) for word, times in found.insertions], "Insertions"),
    ]
    return section(f"Commonest errors of {name}", tag("div", joined(*tables), class_="beside"))


def _system_said(system: System) -> str:
    said = ends(system.interval)
    if system.deviation is not None:
        said += f"; {len(system.scores)} runs, standard deviation {system.deviation:.2f}"
    return said


def _runs_section(found: Comparison) -> Markup:
    rows = [
        (name, letter, f"{score:.2f}")
        for letter, system in (("A", found.first), ("B", found.second))
        for name, score in zip(system.names, system.scores, strict=True)
    ]
    return section(
        "Runs",
        table(("output", "system", "score"), rows),
        note="Outputs of one system differ only by the luck of its optimizer (Clark et al. 2011).",
    )
