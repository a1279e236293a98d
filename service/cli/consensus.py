"""nbest consensus: the hypothesis that is least wrong on average, and how sure its words are."""

import json
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import check_new_names, open_scorers, read_lists, read_weights_for

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.consensus import Confidence, Loss
    from rescoring.nbest import NbestLists


@click.command()
@options.lists_argument
@options.lm
@options.self_normalized
@options.precision
@click.option("--weights", required=True, metavar="FILE", help="A weight set of `nbest tune`.")
@click.option(
    "--loss",
    "loss_name",
    type=click.Choice(("wer", "bleu")),
    required=True,
    help="What is to be small: expected word errors, or 1 - BLEU.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, min_open=True),
    help="Of the weighted sums before they become posteriors; without it --ref, on which it is tuned.",
)
@options.references
@options.list_format
@options.features
@options.words
@options.beam_size
@options.add_feature
@options.out("Write texts, word and text confidences as JSON Lines.", "--confidences", default=None)
@options.out("Where the texts go, one a list; standard output by default.")
def consensus(
    lists: str,
    lms: tuple[str, ...],
    self_normalized: bool,
    precision: "Precision",
    weights: str,
    loss_name: str,
    scale: float | None,
    references: tuple[str, ...],
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    beam_size: int | None,
    external: tuple[str, ...],
    confidences: str | None,
    out: str,
) -> None:
    """Choose from each of LISTS the hypothesis with the least expected loss under the list's posterior.

    With --ref the scale of the posterior is tuned on these lists: give it to others with --scale.
    """
    from nbest.errors import ConfigError
    from rescoring import consensus as bayes
    from rescoring import pipeline
    from rescoring.features import parse_external
    from rescoring.formats import write_one_best
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric

    if (scale is None) != bool(references):
        raise ConfigError(
            "a scale is given or tuned", where="--scale", expected="either --scale or --ref (to tune it)"
        )
    loss: Loss = "wer" if loss_name == "wer" else "bleu"
    found = read_lists(lists, list_format, features, words_txt, beam_size)
    chosen = read_weights_for(weights, found)
    texts = read_references(references, found) if references else None
    scorers = open_scorers(lms, self_normalized=self_normalized, precision=precision)
    check_new_names(found, scorers)
    given = [parse_external(argument) for argument in external]
    ranked = pipeline.rescore(found, scorers, chosen, external=given)
    if scale is None and texts is not None:
        metric = get_metric(loss)
        counts = metric.counts(found.texts, found.segments, texts)  # (N, K)
        best = bayes.tuned_scale(ranked.lists, ranked.totals, counts, metric, loss)
        scale = best.scale
        before = float(metric.score(counts[ranked.best].sum(axis=0)))
        click.echo(f"{loss} {before:.2f} of the highest totals, {best.score:.2f} by consensus", err=True)
    assert scale is not None
    click.echo(f"scale {scale:.6g}", err=True)
    rows = bayes.consensus(ranked.lists, ranked.totals, scale, loss)
    if confidences is not None:
        posterior = bayes.posterior(ranked.totals, ranked.lists.offsets, scale)
        sure = bayes.confidences(ranked.lists, posterior, rows.tolist())
        _write_confidences(ranked.lists, rows.tolist(), sure, confidences)
    write_one_best(ranked.lists, rows, out)


def _write_confidences(
    lists: "NbestLists", rows: list[int], confidences: "list[Confidence]", path: str
) -> None:
    """A line a list: id, text, its confidence, and each word with its own."""
    from nbest.files import write_whole
    from rescoring.text import words

    with write_whole(path) as stream:
        for name, row, sure in zip(lists.ids, rows, confidences, strict=True):
            line = {
                "id": name,
                "text": lists.texts[row],
                "confidence": round(sure.text, 6),
                "words": [
                    {"word": word, "confidence": round(one, 6)}
                    for word, one in zip(words(lists.texts[row]), sure.words, strict=True)
                ],
            }
            stream.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
