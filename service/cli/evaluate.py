"""nbest evaluate: how good an output is, and how sure that is."""

import json
from pathlib import Path

import click

from service.cli import options


@click.command()
@click.argument("output")
@options.references
@options.metric
@click.option(
    "--format",
    "output_format",
    type=click.Choice(("lines", "kaldi-text", *options.LIST_FORMATS)),
    help="Format of OUTPUT; told from its content by default.",
)
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
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=12345, show_default=True, help="Of all samples.")
@options.words
@options.beam_size
@options.filters
@click.option("--detokenize", is_flag=True, help="Compare English as it is printed: --filter detokenize.")
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
    says how often chance alone makes a difference as large.
    """
    from dataclasses import asdict

    from nbest.errors import WeightsError
    from rescoring.comparison import compare
    from rescoring.evaluation import evaluate as run
    from rescoring.metrics import get_metric
    from rescoring.tuning.fingerprint import tuned_on
    from rescoring.weights import read_weights
    from service.cli.filters import Filters
    from service.cli.outputs import read_output

    measure = get_metric(metric_name, tokenize, lowercase)
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
    result = run(found.hypotheses, found.references, measure, samples, seed)
    interval = result.interval
    against = None
    if baseline is not None:
        words_of = words_txt if Path(baseline).is_dir() else None
        other = filters.output(read_output(baseline, references, None, words_of, beam_size))
        against = compare(
            (other.hypotheses, other.references),
            (found.hypotheses, found.references),
            measure,
            samples,
            seed,
            names=(baseline, output),
        )
    if as_json:
        document: dict[str, object] = {
            "metric": result.metric,
            "score": result.score,
            "interval": [interval.low, interval.high],
            "confidence": interval.confidence,
            "samples": interval.samples,
            "seed": interval.seed,
            "segments": result.segments,
            "counts": dict(result.counts),
            "signature": f"{result.signed}{filters.signature}{noted}",
        }
        if against is not None:
            document["baseline"] = {"output": baseline, **asdict(against)}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"nbest: read as {found.read_as}", err=True)
    ends = f"{interval.confidence:.0%} [{interval.low:.2f}, {interval.high:.2f}]"
    click.echo(f"{result.metric} {result.score:.2f}  {ends}  {result.segments} segments")
    click.echo("  ".join(f"{name} {count}" for name, count in result.counts.items()))
    if against is not None:
        near = f"{against.confidence:.0%} [{against.interval[0]:+.2f}, {against.interval[1]:+.2f}]"
        click.echo(
            f"difference {against.difference:+.2f} from {result.metric} {against.score:.2f} of {baseline}  "
            f"{near}  p {against.p_value:.4f} ({against.test}, {against.trials} trials)"
        )
    if said:
        click.echo(
            "nbest: BLEU of the tokens as they are (tokenize none): not comparable with BLEU of plain text",
            err=True,
        )
    click.echo(f"signature {result.signed}{filters.signature}{noted}")
