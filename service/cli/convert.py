"""nbest convert: lists in one format to another."""

from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import open_lists, read_lists, say_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from rescoring.formats import Blocks
    from rescoring.nbest import NbestLists


@click.command()
@options.lists_argument
@options.list_format
@options.features
@options.words
@options.beam_size
@click.option(
    "--to",
    "to_format",
    type=click.Choice((*options.LIST_FORMATS, "extractor")),
    default="jsonl",
    show_default=True,
    help="Format to write; extractor: the files of Moses' mert and kbmira, which need --ref.",
)
@click.option("--renumber", is_flag=True, help="Number the lists from 0 in place of their ids.")
@options.references
@options.out("Where the lists go: a file, or a directory (kaldi, espnet, srilm).", required=True, check=None)
def convert(
    lists: str,
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    beam_size: int | None,
    to_format: str,
    renumber: bool,
    references: tuple[str, ...],
    out: str,
) -> None:
    """Read LISTS (a file or a directory) and write them in another format, in the same order.

    A Moses list's total becomes the feature decoder_total. With --ref, formats with a place for references
    (jsonl, mlm, fairseq) carry them. What the new format has no place for is an error, or is said.
    """
    from nbest.errors import ConfigError
    from rescoring.formats import check_target, open_writer

    if to_format == "extractor":
        _extract(read_lists(lists, list_format, features, words_txt, beam_size), references, out)
        return
    if references and to_format not in _WITH_REFERENCES:
        raise ConfigError(
            "only some formats carry references",
            where="--ref",
            expected=f"--to {' or '.join(_WITH_REFERENCES)}",
            got=to_format,
        )
    check_target(out, to_format)
    count = hypotheses = 0
    with open_lists(lists, list_format, features, words_txt, beam_size) as blocks:
        with open_writer(out, to_format) as write:
            for found in _changed(blocks, to_format, renumber, references):
                write(found, _as_they_stand(found), None)
                count += len(found)
                hypotheses += len(found.texts)
        last = found
    click.echo(f"{count} lists, {hypotheses} hypotheses, {last.features.shape[1]} columns", err=True)
    if last.references and to_format not in _WITH_REFERENCES:
        click.echo(f"nbest: warning: the references of {count} lists are left out", err=True)
    if renumber:
        click.echo(f"nbest: warning: the ids of {count} lists are replaced by numbers from 0", err=True)
        if to_format == blocks.format.name:
            what = "what only its lines hold (alignments, other keys) is left out"
            click.echo(f"nbest: warning: {what}: the lines are written anew", err=True)
    say_features(last, last.schema)


_WITH_REFERENCES = ("jsonl", "mlm", "fairseq")
_EXTRACTED = ("features.dat", "scores.dat")


def _extract(lists: "NbestLists", references: tuple[str, ...], out: str) -> None:
    """What Moses' extractor writes: features without totals, and the counts of BLEU."""
    from nbest.files import write_whole_directory
    from rescoring.formats.moses_extractor import bleu_counts, write_extractor
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric
    from rescoring.pipeline import tunable

    texts = read_references(references, lists)
    counts = bleu_counts(get_metric("bleu").counts(lists.texts, lists.segments, texts))
    with write_whole_directory(out, replaces=_EXTRACTED) as fresh:
        features, scores = (fresh / name for name in _EXTRACTED)
        write_extractor(tunable(lists), counts, features, scores)
    click.echo(f"{len(lists)} lists, {len(lists.texts)} hypotheses: {', '.join(_EXTRACTED)}", err=True)


def _changed(
    blocks: "Blocks", to_format: str, renumber: bool, references: tuple[str, ...]
) -> "Iterator[NbestLists]":
    """The blocks with what the options add."""
    from dataclasses import replace

    from rescoring.formats.references import references_of
    from rescoring.pipeline import with_decoder_total

    texts = None
    if references:
        texts = references_of(references, blocks.ids, blocks.format.name, blocks.source)
    first = 0
    for found in blocks:
        if to_format != "moses":  # a Moses line keeps its own total
            found = with_decoder_total(found)
        if texts is not None:
            found = replace(found, references=texts[first : first + len(found)])
        if renumber:
            ids = tuple(str(first + k) for k in range(len(found)))
            found = replace(found, ids=ids, records=())
        first += len(found)
        yield found


def _as_they_stand(lists: "NbestLists") -> "NDArray[np.int64]":
    import numpy as np

    return np.arange(len(lists.texts), dtype=np.int64)
