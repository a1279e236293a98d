"""nbest models: the models that ship."""

import json

import click

from service.cli.options import as_json


@click.command()
@as_json
def models(as_json: bool) -> None:
    """List the models that ship with nbest; each name can be given to --lm."""
    from models import catalog

    names = list(catalog.names())
    if as_json:
        click.echo(json.dumps(names))
        return
    for name in names:
        click.echo(name)
    if not names:
        click.echo("nbest: no models ship with this build", err=True)
