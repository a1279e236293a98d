"""--by and --cluster: what they name, and breakdowns and confusions as tables and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nbest.errors import ConfigError, shorten
from rescoring.alignment import Confusions
from rescoring.breakdown import Breakdown
from rescoring.groups import Groups, by_label, by_length, by_oov, read_labels, read_words, unknown_words
from rescoring.metrics.base import Metric, References
from service.cli.tables import shown, table

FEW = 20  # units: a bootstrap of fewer knows little of its tails (Efron and Tibshirani 1993, section 13.6)
MOST_COUNTS = 4  # more counts than this are not shown beside a group


def named_groups(specifications: Sequence[str], ids: Sequence[str], references: References) -> list[Groups]:
    """The groups that each --by names.

    Raises ConfigError for one that cannot be read or is asked for twice, and what its source raises.
    """
    found = [_named(one, ids, references) for one in specifications]
    names = [groups.name for groups in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("a breakdown is asked for twice", where="--by", got=shorten(name))
    return found


def clusters(source: str | None, ids: Sequence[str]) -> Groups | None:
    """The groups that --cluster names."""
    return None if source is None else by_label("cluster", read_labels(source, ids))


def few_units(units: int, what: str) -> str | None:
    """A warning where there is little to resample."""
    return f"only {units} {what} to resample: intervals and p-values are rough" if units < FEW else None


def breakdown_lines(found: Breakdown, metric: Metric, names: Sequence[str]) -> list[str]:
    """A table; `names` of the systems' columns."""
    two = len(names) == 2
    counts = list(metric.count_names) if len(metric.count_names) <= MOST_COUNTS and not two else []
    header = [found.by, "segments", *names, *(["difference"] if two else []), "95% interval", *counts]
    rows = []
    for group in found.groups:
        sign = "+" if two else ""
        near = group.interval
        rows.append(
            [
                group.label,
                str(group.segments),
                *(f"{score:.2f}" for score in group.scores),
                *([f"{group.scores[1] - group.scores[0]:+.2f}"] if two else []),
                f"[{near.low:{sign}.2f}, {near.high:{sign}.2f}]" if near else "-",
                *(str(group.counts[name]) for name in counts),
            ]
        )
    return table(header, rows)


def breakdown_document(found: Breakdown) -> dict[str, object]:
    """As JSON has it."""
    return {
        "by": found.by,
        "groups": [
            {
                "label": group.label,
                "segments": group.segments,
                **(
                    {"score": group.scores[0]}
                    if len(group.scores) == 1
                    else {"scores": list(group.scores), "difference": group.scores[1] - group.scores[0]}
                ),
                "interval": [group.interval.low, group.interval.high] if group.interval else None,
                "counts": dict(group.counts),
            }
            for group in found.groups
        ],
    }


def confusion_lines(found: Confusions, counts: Mapping[str, int]) -> list[str]:
    """Three tables side by side: the commonest substitutions, deletions and insertions."""
    columns = [
        [shown(f"{first} -> {second}") for (first, second), _ in found.substitutions],
        [shown(word) for word, _ in found.deletions],
        [shown(word) for word, _ in found.insertions],
    ]
    numbers = [
        [times for _, times in kind] for kind in (found.substitutions, found.deletions, found.insertions)
    ]
    header = [f"{name} {counts[name]}" for name in ("substitutions", "deletions", "insertions")]
    depth = max(map(len, columns))
    cells = [
        [
            f"{kind[1][row]:5d}  {kind[0][row]}" if row < len(kind[0]) else ""
            for kind in zip(columns, numbers, strict=True)
        ]
        for row in range(depth)
    ]
    widths = [max(len(one[place]) for one in [header, *cells]) for place in range(3)]
    return [
        "   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [header, *cells]
    ]


def confusion_document(found: Confusions) -> dict[str, object]:
    """As JSON has it."""
    return {
        "substitutions": [
            {"reference": first, "hypothesis": second, "times": times}
            for (first, second), times in found.substitutions
        ],
        "deletions": [{"reference": word, "times": times} for word, times in found.deletions],
        "insertions": [{"hypothesis": word, "times": times} for word, times in found.insertions],
    }


def _named(specification: str, ids: Sequence[str], references: References) -> Groups:
    name, equals, source = specification.partition("=")
    if name == "length" and not equals:
        return by_length(references)
    if not name or not source:
        raise ConfigError(
            "not a breakdown",
            where="--by",
            expected="length, oov=FILE, oov=MODEL or NAME=FILE, NAME=prefix:_",
            got=shorten(specification),
        )
    if name == "length":
        raise ConfigError("lengths are counted", where="--by", expected="length", got=shorten(specification))
    if name == "oov":
        return by_oov(_unknown(source, references))
    return by_label(name, read_labels(source, ids))


def _unknown(source: str, references: References) -> list[int]:
    """Unknown words of each segment's first reference: not in a word list, or not known to a model."""
    if Path(source).is_file():
        return unknown_words(references, read_words(source))
    from service.cli.loading import open_scorer

    scores = open_scorer(source).score([several[0] for several in references])
    return [int(number) for number in scores.oov_counts]
