"""nbest convert: lists in one format to another."""

import click

from service.cli import options
from service.cli.loading import read_lists, say_features


@click.command()
@options.lists_argument
@options.list_format
@options.features
@options.words
@click.option(
    "--to",
    "to_format",
    type=click.Choice(options.LIST_FORMATS),
    default="jsonl",
    show_default=True,
    help="Format to write.",
)
@options.references
@options.out("Where the lists go: a file, for Kaldi a directory.", required=True, check=None)
def convert(
    lists: str,
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    to_format: str,
    references: tuple[str, ...],
    out: str,
) -> None:
    """Read LISTS (a file or a Kaldi directory) and write them in another format, in the same order.

    A Moses list's total becomes the feature decoder_total. With --ref, JSON Lines carry their references.
    """
    from dataclasses import replace

    from nbest.errors import ConfigError
    from rescoring.formats import check_target, write_nbest
    from rescoring.formats.references import read_references
    from rescoring.pipeline import with_decoder_total

    if references and to_format != "jsonl":
        raise ConfigError(
            "only JSON Lines carry references", where="--ref", expected="--to jsonl", got=to_format
        )
    check_target(out, to_format)
    found = read_lists(lists, list_format, features, words_txt)
    if to_format != "moses":  # a Moses line keeps its own total
        found = with_decoder_total(found)
    if references:
        found = replace(found, references=read_references(references, found))
    write_nbest(found, out, to_format)
    click.echo(
        f"{len(found)} lists, {len(found.texts)} hypotheses, {found.features.shape[1]} columns", err=True
    )
    say_features(found, found.schema)
