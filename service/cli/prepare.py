"""nbest prepare: raw English files into training and held-out text."""

from pathlib import Path

import click

from nbest.errors import ConfigError, shorten
from service.cli import options

_MOST_DIGITS = 18  # of a number of words


@click.command()
@click.argument("raw", nargs=-1, required=True, metavar="FILE[:WORDS]...")
@options.out("Training text.", required=True)
@options.out("Held-out text: whole blocks of lines.", "--held-out", required=True)
@click.option(
    "--exclude",
    multiple=True,
    metavar="FILE",
    help="Leave out sentences that share six consecutive words with this text (test references). May repeat.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the order.")
def prepare(raw: tuple[str, ...], out: str, held_out: str, exclude: tuple[str, ...], seed: int) -> None:
    """Turn raw English (paragraphs or sentences, a line each) into lower-cased tokenised sentences.

    Half the sentences are written as translators write (punctuation as tokens), half as recognisers do (no
    punctuation, numbers in words). Duplicates are left out. FILE:WORDS takes at most so many words of a file.
    """
    from models.training.prepare import prepare as run
    from nbest.files import read_lines

    excluded = [line for path in exclude for _, line in read_lines(path)]
    counts = run([_limited(item) for item in raw], Path(out), Path(held_out), exclude=excluded, seed=seed)
    click.echo(
        f"{out}: {counts.train_sentences} sentences, {counts.train_words} words\n"
        f"{held_out}: {counts.held_out_sentences} sentences, {counts.held_out_words} words\n"
        f"left out: {counts.duplicates} duplicates, {counts.overlaps} that overlap with excluded text, "
        f"{counts.too_long} too long",
        err=True,
    )


def _limited(item: str) -> tuple[Path, int | None]:
    name, _, words = item.rpartition(":")
    if not (name and words.isascii() and words.isdigit()):
        return Path(item), None
    if len(words) > _MOST_DIGITS:
        expected = f"a number of at most {_MOST_DIGITS} digits"
        raise ConfigError("too many words to take", where=name, expected=expected, got=shorten(words))
    return Path(name), int(words)
