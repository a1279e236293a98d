"""nbest evaluate: how good an output is, and how sure that is."""

import json

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
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=12345, show_default=True, help="Of the bootstrap.")
@options.words
@options.as_json
def evaluate(
    output: str,
    references: tuple[str, ...],
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    output_format: str | None,
    weights: str | None,
    samples: int,
    seed: int,
    words_txt: str | None,
    as_json: bool,
) -> None:
    """Score OUTPUT against references, with a 95% bootstrap interval over segments.

    OUTPUT is plain text (a line a segment), Kaldi's text (utterance, words), or n-best lists, whose first
    hypotheses are scored as they stand.
    """
    from nbest.errors import WeightsError
    from rescoring.evaluation import evaluate as run
    from rescoring.metrics import get_metric
    from rescoring.tuning.fingerprint import tuned_on
    from rescoring.weights import read_weights
    from service.cli.outputs import read_output

    measure = get_metric(metric_name, tokenize, lowercase)
    found = read_output(output, references, output_format, words_txt)
    if weights is not None and tuned_on(read_weights(weights), found.lists, found.references):
        raise WeightsError(
            "the weights were tuned on this data: its score would be optimistic",
            where=weights,
            expected="other lists and references than those of the tuning",
        )
    result = run(found.hypotheses, found.references, measure, samples, seed)
    interval = result.interval
    if as_json:
        document = {
            "metric": result.metric,
            "score": result.score,
            "interval": [interval.low, interval.high],
            "confidence": interval.confidence,
            "samples": interval.samples,
            "seed": interval.seed,
            "segments": result.segments,
            "counts": dict(result.counts),
            "signature": result.signature,
        }
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"nbest: read as {found.read_as}", err=True)
    ends = f"{interval.confidence:.0%} [{interval.low:.2f}, {interval.high:.2f}]"
    click.echo(f"{result.metric} {result.score:.2f}  {ends}  {result.segments} segments")
    click.echo("  ".join(f"{name} {count}" for name, count in result.counts.items()))
    click.echo(f"signature {result.signature}  bootstrap:{interval.samples}|seed:{interval.seed}")
