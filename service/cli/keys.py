"""nbest keys: who may use a service."""

from pathlib import Path

import click

file_option = click.option(
    "--keys",
    "path",
    envvar="NBEST_KEYS",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file of keys, as of `nbest serve --keys`.",
)


@click.group()
def keys() -> None:
    """Keys of a service: made, listed, taken back.

    A running service takes changes up at its next request. The file holds hashes, no keys.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(("score", "tune", "admin")),
    default=("score",),
    show_default=True,
    help="What it is good for; several may be given. score: rescore, score, evaluate and convert; tune: find "
    "and write weight sets; admin: load and unload models.",
)
@file_option
def create(name: str, scopes: tuple[str, ...], path: Path) -> None:
    """Make a key called NAME, and print it: this once, for it is kept nowhere."""
    from datetime import UTC, datetime
    from typing import cast

    from nbest.errors import ConfigError
    from nbest.locked import locked
    from service.keys import MOST_KEYS, Scope, new_key, read_keys, write_keys

    with locked(path.parent):
        there = read_keys(path) if path.exists() else ()
        if any(key.name == name for key in there):
            raise ConfigError(
                "there is a key of that name", where=str(path), expected="another name", got=name
            )
        if len(there) >= MOST_KEYS:
            raise ConfigError("too many keys", where=str(path), expected=f"at most {MOST_KEYS}")
        text, key = new_key(name, cast("tuple[Scope, ...]", scopes), datetime.now(UTC))
        write_keys((*there, key), path)
    click.echo(text)


@keys.command("list")
@file_option
def list_(path: Path) -> None:
    """Names, scopes and days of the keys there are."""
    from service.keys import read_keys

    for key in read_keys(path):
        click.echo(f"{key.name}\t{','.join(key.scopes)}\t{key.created}")


@keys.command()
@click.argument("name")
@file_option
def revoke(name: str, path: Path) -> None:
    """Take back the key called NAME."""
    from nbest.errors import NotFoundError
    from nbest.locked import locked
    from service.keys import read_keys, write_keys

    with locked(path.parent):
        there = read_keys(path)
        kept = [key for key in there if key.name != name]
        if len(kept) == len(there):
            names = ", ".join(key.name for key in there) or "none"
            raise NotFoundError("no such key", where=str(path), expected=f"one of {names}", got=repr(name))
        write_keys(kept, path)
