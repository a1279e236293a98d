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
@options.beam_size
@options.filters
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
    beam_size: int | None,
    text_filter: str,
    reference_filter: str,
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
    from service.cli.filters import Filters

    measure = get_metric(metric_name, tokenize, lowercase)
    filters = Filters.named(text_filter, reference_filter)
    found = read_lists(lists, list_format, words_txt=words_txt, beam_size=beam_size)
    texts = filters.references(read_references(references, found))
    counts = measure.counts(filters.texts(found.texts), found.segments, texts)  # (N, K)
    best = oracles.oracle(counts, found.offsets, measure)
    first = float(measure.score(counts[found.offsets[:-1]].sum(axis=0)))
    if out is not None:
        write_one_best(found, best.rows, out)
    signed = f"{measure.signature_for(texts)}{filters.signature}"
    if as_json:
        document = {
            "metric": measure.name,
            "oracle": best.score,
            "exact": best.exact,
            "what": oracles.said(exact=best.exact),
            "first": first,
            "lists": len(found),
            "hypotheses": len(found.texts),
            "signature": signed,
        }
        click.echo(json.dumps(document, indent=1))
        return
    bound = "" if best.exact else "at least "
    click.echo(
        f"{measure.name} oracle {bound}{best.score:.2f}  as the lists stand {first:.2f}  "
        f"{len(found)} lists, {len(found.texts)} hypotheses"
    )
    click.echo(f"oracle: {oracles.said(exact=best.exact)}")
    click.echo(f"signature {signed}")
