"""nbest models: the models that ship."""

import json
from typing import TYPE_CHECKING

import click

from service.cli.info import figure
from service.cli.options import as_json

if TYPE_CHECKING:
    from models.checkpoint import ModelCard


@click.command()
@as_json
def models(as_json: bool) -> None:
    """List the models that ship with nbest; each name can be given to --lm.

    A line each: system, words, bytes of the weight file; below it what the model's card says was measured.
    `nbest info` says more.
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
                "oov_rate": found.card.oov_rate,
                "measured": found.card.measured,
                "licence": found.card.licence,
                "digest": found.digest,
            }
        )
        if not as_json:
            size, count = found.weights_bytes, found.config.vocabulary_size
            click.echo(f"{name}  {found.config.system}  {count:,} words  {size:,} bytes")
            for line in figures(found.card):
                click.echo(f"    {line}")
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif not rows:
        click.echo("nbest: no models ship with this build", err=True)


def figures(card: "ModelCard") -> list[str]:
    """A line for each number of a card."""
    return [
        *(f"perplexity {value:.2f}  {of}" for of, value in card.perplexity.items()),
        *(f"OOV rate {value:.2%}  {of}" for of, value in card.oov_rate.items()),
        *(f"{name}  {figure(value)}" for name, value in card.measured.items()),
    ]
