"""nbest evaluate: how good an output is, and how sure that is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from service.cli import options

if TYPE_CHECKING:
    from rescoring.alignment import Confusions
    from rescoring.breakdown import Breakdown
    from rescoring.comparison import Comparison
    from rescoring.evaluation import Evaluation
    from rescoring.metrics import Metric


@click.command()
@click.argument("output")
@options.references
@options.metric
@options.output_format("OUTPUT")
@click.option(
    "--weights", metavar="FILE", help="Weights that made OUTPUT: data they were tuned on is refused."
)
@click.option(
    "--tuning-data",
    "tuning_data",
    is_flag=True,
    help="Score data that --weights were tuned on all the same: the signature says so.",
)
@click.option(
    "--baseline",
    metavar="FILE",
    help="Another output for the same references: the difference from it, with an interval and a p-value.",
)
@options.by
@click.option(
    "--confusions",
    "most",
    type=click.IntRange(1),
    metavar="N",
    help="WER: the N commonest substitutions, deletions and insertions.",
)
@options.cluster
@options.samples
@options.seed
@options.words
@options.beam_size
@options.filters
@options.detokenize
@options.as_json
def evaluate(
    output: str,
    references: tuple[str, ...],
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    output_format: str | None,
    weights: str | None,
    tuning_data: bool,
    baseline: str | None,
    groupings: tuple[str, ...],
    most: int | None,
    cluster: str | None,
    samples: int,
    seed: int,
    words_txt: str | None,
    beam_size: int | None,
    text_filter: str,
    reference_filter: str,
    detokenize: bool,
    as_json: bool,
) -> None:
    """Score OUTPUT against references, with a 95% bootstrap interval over segments.

    OUTPUT is plain text (a line a segment), Kaldi's text (utterance, words), or n-best lists, whose first
    hypotheses are scored as they stand. With --baseline, paired approximate randomization (10000 trials)
    says how often chance alone makes a difference as large; `nbest compare` says more.
    """
    import numpy as np

    from nbest.errors import ConfigError, WeightsError
    from rescoring.alignment import align, confusions
    from rescoring.breakdown import breakdown
    from rescoring.comparison import Run, compare
    from rescoring.evaluation import evaluate as run
    from rescoring.metrics import get_metric
    from rescoring.tuning.fingerprint import tuned_on
    from rescoring.weights import read_weights
    from service.cli import breakdowns
    from service.cli.filters import Filters
    from service.cli.outputs import in_order_of, read_output

    measure = get_metric(metric_name, tokenize, lowercase)
    if most is not None and measure.name != "wer":
        raise ConfigError("confusions are of words", where="--confusions", expected="--metric wer")
    filters = Filters.named(text_filter, reference_filter, detokenize=detokenize)
    found = read_output(output, references, output_format, words_txt, beam_size)
    same = weights is not None and tuned_on(read_weights(weights), found.lists, found.references)
    if same and not tuning_data:
        raise WeightsError(
            "the weights were tuned on this data: its score would be optimistic",
            where=weights,
            expected="other lists and references than those of the tuning, or --tuning-data",
        )
    noted = "|data:tuned-on" if same else ""
    said = measure.name == "bleu" and tokenize == "none" and not filters.detokenizes
    found = filters.output(found)
    clusters = breakdowns.clusters(cluster, found.ids)
    groups = breakdowns.named_groups(groupings, found.ids, found.references)
    result = run(found.hypotheses, found.references, measure, samples, seed, clusters=clusters)
    if warning := breakdowns.few_units(*result.units):
        click.echo(f"nbest: warning: {warning}", err=True)
    counts = measure.counts(found.hypotheses, np.arange(len(found.hypotheses)), found.references)  # (S, K)
    parts = [breakdown(one, measure, counts, samples=samples, seed=seed) for one in groups]
    wrong = None
    if most is not None:
        wrong = confusions(align(found.hypotheses, [several[0] for several in found.references]), most)
    against = None
    if baseline is not None:
        words_of = words_txt if Path(baseline).is_dir() else None
        other = filters.output(read_output(baseline, references, None, words_of, beam_size))
        other = in_order_of(found, other)
        before = Run(baseline, other.hypotheses, other.references)
        after = Run(output, found.hypotheses, found.references)
        against = compare([before], [after], measure, samples, seed, clusters=clusters)
    signature = f"{result.signed}{filters.signature}{noted}"
    shown = _Shown(result, against, parts, wrong, signature)
    if as_json:
        click.echo(json.dumps(_document(shown), indent=1))
        return
    click.echo(f"nbest: read as {found.read_as}", err=True)
    if said:
        click.echo(
            "nbest: BLEU of the tokens as they are (tokenize none): not comparable with BLEU of plain text",
            err=True,
        )
    click.echo("\n".join(_lines(shown, measure)))


class _Shown(NamedTuple):
    """What was found."""

    result: "Evaluation"
    against: "Comparison | None"
    parts: "Sequence[Breakdown]"
    wrong: "Confusions | None"
    signature: str


def _document(shown: _Shown) -> dict[str, object]:
    from service.cli import breakdowns

    result, interval = shown.result, shown.result.interval
    document: dict[str, object] = {
        "metric": result.metric,
        "score": result.score,
        "interval": [interval.low, interval.high],
        "confidence": interval.confidence,
        "samples": interval.samples,
        "seed": interval.seed,
        "segments": result.segments,
        "clusters": result.clusters,
        "counts": dict(result.counts),
        "signature": shown.signature,
    }
    if (against := shown.against) is not None:
        chance = against.verdict("randomization")
        document["baseline"] = {
            "output": against.first.names[0],
            "score": against.first.mean,
            "difference": against.difference,
            "interval": [against.interval.low, against.interval.high],
            "confidence": against.interval.confidence,
            "p_value": chance.p_value,
            "test": chance.test,
            "trials": chance.trials,
        }
    if shown.parts:
        document["breakdowns"] = [breakdowns.breakdown_document(one) for one in shown.parts]
    if shown.wrong is not None:
        document["confusions"] = breakdowns.confusion_document(shown.wrong)
    return document


def _lines(shown: _Shown, metric: "Metric") -> list[str]:
    from service.cli import breakdowns

    result, interval = shown.result, shown.result.interval
    ends = f"{interval.confidence:.0%} [{interval.low:.2f}, {interval.high:.2f}]"
    of = "" if result.clusters is None else f" in {result.clusters} clusters"
    lines = [
        f"{result.metric} {result.score:.2f}  {ends}  {result.segments} segments{of}",
        "  ".join(f"{name} {count}" for name, count in result.counts.items()),
    ]
    if (against := shown.against) is not None:
        near = f"{interval.confidence:.0%} [{against.interval.low:+.2f}, {against.interval.high:+.2f}]"
        chance = against.verdict("randomization")
        lines.append(
            f"difference {against.difference:+.2f} "
            f"from {result.metric} {against.first.mean:.2f} of {against.first.names[0]}  "
            f"{near}  p {chance.p_value:.4f} ({chance.test}, {chance.trials} trials)"
        )
    for one in shown.parts:
        lines += ["", *breakdowns.breakdown_lines(one, metric, [metric.name])]
    if shown.wrong is not None:
        lines += ["", *breakdowns.confusion_lines(shown.wrong, result.counts)]
    if shown.parts or shown.wrong is not None:
        lines.append("")
    return [*lines, f"signature {shown.signature}"]
