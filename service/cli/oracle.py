"""nbest oracle: how good the lists could be."""

import json

import click

from service.cli import options
from service.cli.loading import read_lists


@click.command()
@options.lists_argument
@options.references
@options.metric
@options.list_format
@options.words
@options.as_json
@options.out("Also write the best texts, one a list.", default=None)
def oracle(
    lists: str,
    references: tuple[str, ...],
    metric_name: str,
    tokenize: str,
    lowercase: bool,
    list_format: str | None,
    words_txt: str | None,
    as_json: bool,
    out: str | None,
) -> None:
    """The best score that choosing one hypothesis from each of LISTS can reach.

    For WER that is exact; BLEU does not add up over segments, so there it is a lower bound.
    """
    from rescoring import oracle as oracles
    from rescoring.formats import write_one_best
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric

    measure = get_metric(metric_name, tokenize, lowercase)
    found = read_lists(lists, list_format, words_txt=words_txt)
    texts = read_references(references, found)
    counts = measure.counts(found.texts, found.segments, texts)  # (N, K)
    best = oracles.oracle(counts, found.offsets, measure)
    first = float(measure.score(counts[found.offsets[:-1]].sum(axis=0)))
    if out is not None:
        write_one_best(found, best.rows, out)
    if as_json:
        document = {
            "metric": measure.name,
            "oracle": best.score,
            "exact": best.exact,
            "first": first,
            "lists": len(found),
            "hypotheses": len(found.texts),
            "signature": measure.signature_for(texts),
        }
        click.echo(json.dumps(document, indent=1))
        return
    bound = "" if best.exact else "at least "
    click.echo(
        f"{measure.name} oracle {bound}{best.score:.2f}  as the lists stand {first:.2f}  "
        f"{len(found)} lists, {len(found.texts)} hypotheses"
    )
    click.echo(f"signature {measure.signature_for(texts)}")
