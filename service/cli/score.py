"""nbest score: log-probabilities of sentences, one a line."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.loading import open_lists, open_remote, open_scorer

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.text import Pipeline
    from service.scorers import TokenScorer

_BLOCK = 4096  # sentences scored at once


@click.command()
@click.argument("sentences", default="-")
@options.single(
    "--lm",
    noun="model",
    advice="one --lm",
    metavar="MODEL",
    help="A directory, a shipped model's name, or kenlm:FILE.",
)
@click.option("--print-text", is_flag=True, help="Print the sentence too.")
@click.option(
    "--tokens",
    is_flag=True,
    help="One line per token instead: sentence, token (a TAB within it as \\t), log-prob, OOV.",
)
@options.model_text
@options.list_format
@options.words
@options.beam_size
@options.self_normalized
@options.precision
@options.server
@options.out("Where the table goes; standard output by default.")
def score(
    sentences: str,
    lm: str,
    print_text: bool,
    tokens: bool,
    text: str | None,
    list_format: str | None,
    words_txt: str | None,
    beam_size: int | None,
    self_normalized: bool,
    precision: "Precision",
    server: str | None,
    key: str | None,
    out: str,
) -> None:
    """Score SENTENCES (a file; standard input by default), one a line; with --format the hypotheses of lists.

    Prints a TAB-separated line each: natural log-probability, tokens, out-of-vocabulary words. The end of
    the sentence is scored and counted. The total, the perplexity and the signature of the
    model follow on standard error; self-normalized scores have no perplexity.
    """
    from nbest.errors import ConfigError
    from nbest.files import write_whole
    from nbest.signature import precision_of, signature
    from rescoring.text import DEFAULT_PIPELINE, get_pipeline

    prepare = get_pipeline(text or DEFAULT_PIPELINE)
    if list_format is None and (words_txt is not None or beam_size is not None):
        raise ConfigError("only lists have that", where="--words or --beam-size", expected="--format NAME")
    service = options.server_of(
        server, key, [lm], self_normalized=self_normalized, precision=precision != "fp32"
    )
    if service is None:
        scorer = open_scorer(lm, self_normalized=self_normalized, precision=precision)
    else:
        scorer = open_remote(service, lm)
    sums = _Sums(exact=not self_normalized)
    with write_whole(out) as stream:
        texts = _texts(sentences, list_format, words_txt, beam_size)
        for block in _blocks(texts, prepare):
            lines = _token_lines if tokens else _sentence_lines
            stream.writelines(f"{line}\n".encode() for line in lines(scorer, block, sums, print_text))
    click.echo(str(sums), err=True)
    name = scorer.name.replace("|", "_").replace(
        "\n", "_"
    )  # what parts a signature, a directory may be called
    parts = {name: scorer.digest, "precision": precision_of([scorer.digest]), "text": prepare.name}
    click.echo(f"signature {signature(parts)}", err=True)


class _Sums:
    """What the summary says; a perplexity only of exact log-probabilities."""

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self.sentences = self.tokens = self.oov = 0
        self.nat_log_probs: list[float] = []

    def add(self, nat_log_prob: float, tokens: int, oov: int) -> None:
        self.nat_log_probs.append(nat_log_prob)
        self.sentences += 1
        self.tokens += tokens
        self.oov += oov

    def __str__(self) -> str:
        total = math.fsum(self.nat_log_probs)
        has_one = self.exact and self.tokens
        perplexity = f"{math.exp(min(-total / self.tokens, 700)):.4f}" if has_one else "none"
        # The log of a training and a card's first figures count <unk> as a word like others.
        charged = " (unknown words charged)" if has_one and self.oov else ""
        return (
            f"sentences {self.sentences}  tokens {self.tokens}  oov {self.oov}  "
            f"nat_log_prob {total:.4f}  perplexity {perplexity}{charged}"
        )


def _texts(path: str, list_format: str | None, words_txt: str | None, beam_size: int | None) -> Iterator[str]:
    """Lines; of lists the hypotheses in the order of their file, as --add-feature takes scores."""
    from nbest.files import read_lines

    if list_format is None:
        for number, line in read_lines(path):
            if number == 1 and line.count("|||") > 1:
                said = "the sentences look like n-best lists: --format moses scores their hypotheses"
                click.echo(f"nbest: warning: {said}", err=True)
            yield line
        return
    from rescoring.formats import hypothesis_rows

    with open_lists(path, list_format, words_txt=words_txt, beam_size=beam_size) as blocks:
        for lists in blocks:
            yield from (lists.texts[row] for row in hypothesis_rows(lists).tolist())


def _blocks(texts: Iterator[str], prepare: "Pipeline") -> Iterator[list[str]]:
    block: list[str] = []
    for line in texts:
        block.append(line)
        if len(block) == _BLOCK:
            yield prepare(block)
            block = []
    if block:
        yield prepare(block)


def _sentence_lines(scorer: "TokenScorer", block: list[str], sums: _Sums, print_text: bool) -> Iterator[str]:
    scores = scorer.score(block)
    rows = zip(
        block,
        scores.nat_log_probs.tolist(),
        scores.token_counts.tolist(),
        scores.oov_counts.tolist(),
        strict=True,
    )
    for text, nat_log_prob, tokens, oov in rows:
        sums.add(nat_log_prob, tokens, oov)
        yield f"{nat_log_prob:.6f}\t{tokens}\t{oov}" + (f"\t{text}" if print_text else "")


def _token_lines(scorer: "TokenScorer", block: list[str], sums: _Sums, print_text: bool) -> Iterator[str]:
    for text, found in zip(block, scorer.score_tokens(block), strict=True):
        number = sums.sentences + 1
        for one in found:
            token = one.token.replace("\t", r"\t")  # columns stay four: words are split at spaces only
            line = f"{number}\t{token}\t{one.nat_log_prob:.6f}\t{int(one.is_oov)}"
            yield f"{line}\t{text}" if print_text else line
        total = math.fsum(one.nat_log_prob for one in found)
        sums.add(total, len(found), sum(one.is_oov for one in found))
