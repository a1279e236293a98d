"""nbest models: the models that ship."""

import json

import click

from service.cli.options import as_json


@click.command()
@as_json
def models(as_json: bool) -> None:
    """List the models that ship with nbest, a line each; each name can be given to --lm.

    Words, bytes of the weight file, and the perplexities of the model's card. `nbest info` says more.
    """
    from models import catalog, checkpoint
    from models.info import describe

    rows = []
    for name, path in catalog.shipped().items():
        found = describe(checkpoint.load(path))
        rows.append(
            {
                "name": name,
                "system": found.config.system,
                "words": found.config.vocabulary_size,
                "weights_bytes": found.weights_bytes,
                "perplexity": found.card.perplexity,
                "licence": found.card.licence,
                "digest": found.digest,
            }
        )
        if not as_json:
            values = [f"perplexity {value:.2f} ({of})" for of, value in found.card.perplexity.items()]
            line = [name, found.config.system, f"{found.config.vocabulary_size:,} words"]
            click.echo("  ".join([*line, f"{found.weights_bytes:,} bytes", *values]))
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif not rows:
        click.echo("nbest: no models ship with this build", err=True)
