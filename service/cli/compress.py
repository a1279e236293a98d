"""nbest compress: a trained model in, a smaller one out."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nbest.errors import ConfigError
from nbest.files import check_output_directory
from service.cli import options
from service.cli.train import CardText

if TYPE_CHECKING:
    from torch import Tensor

    from models.info import Part
    from models.language_model import LanguageModel

    Made = tuple[LanguageModel, dict[str, Any]]  # the new model, and what the card says was done

Names = list[str] | None
MOST_RANK = 1 << 31


@click.command()
@click.argument("model")
@click.option(
    "--out",
    required=True,
    callback=options.checked(check_output_directory),
    type=CardText(),
    metavar="DIR",
    help="Where the new model goes.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="One byte a number: 256 equal intervals of each dense matrix, and of what others are made of.",
)
@click.option("--prune", type=float, metavar="SHARE", help="Share of numbers that become zero, such as 0.9.")
@click.option(
    "--one-threshold",
    is_flag=True,
    help="With --prune: the smallest numbers of all matrices together, not of each.",
)
@click.option(
    "--low-rank", type=click.IntRange(1, MOST_RANK), metavar="R", help="Each matrix as two factors of rank R."
)
@click.option(
    "--joint-low-rank",
    type=click.IntRange(1, MOST_RANK),
    metavar="R",
    help="Layers that put out R numbers: one factor for recurrence, next layer and output.",
)
@click.option(
    "--slim",
    type=click.IntRange(1, MOST_RANK),
    metavar="N",
    help="Word vectors as strings of sub-vectors, each one of N that clustering finds for its position.",
)
@click.option(
    "--parts",
    type=click.IntRange(1, MOST_RANK),
    metavar="K",
    help="With --slim: sub-vectors a word; by default each has 8 numbers, or the nearest that divides.",
)
@click.option(
    "--by-frequency/--all-alike",
    default=None,
    help="With --slim, --low-rank, --prune: what a word's numbers lose counts by how often the model expects "
    "the word, or alike for all words.  [default: by frequency for --slim, alike for the others]",
)
@click.option(
    "--only",
    metavar="NAME,NAME",
    callback=options.names,
    help="Only these matrices, by their part in `nbest info`, or embedding, gates, linear, projection, "
    "output; with --joint-low-rank, gates,output leaves the embedding as it is.",
)
def compress(
    model: str,
    out: str,
    int8: bool,
    prune: float | None,
    one_threshold: bool,
    low_rank: int | None,
    joint_low_rank: int | None,
    slim: int | None,
    parts: int | None,
    by_frequency: bool | None,
    only: list[str] | None,
) -> None:
    """Make a smaller model of MODEL (a directory, or a shipped model's name).

    Without --only, every matrix that can be. What was done to which model goes into the card; measure the new
    model with `nbest score`, or train a pruned, slim or low-rank one further with `nbest train --init
    --recipe adapt`. --int8 comes last: of bytes nothing else can be made, and of pruned and low-rank matrices
    only bytes.
    """
    from models import catalog, checkpoint, compression
    from models.expectation import expected_words
    from models.info import parts_of_model

    given = {"--int8": int8, "--prune": prune, "--low-rank": low_rank, "--joint-low-rank": joint_low_rank}
    method = _one_of({**given, "--slim": slim})
    if one_threshold and method != "--prune":
        raise ConfigError("--one-threshold goes with --prune", got=method)
    if parts is not None and method != "--slim":
        raise ConfigError("--parts goes with --slim", got=method)
    if by_frequency is not None and (method in ("--int8", "--joint-low-rank") or one_threshold):
        raise ConfigError(
            "--by-frequency and --all-alike go with --prune, --low-rank and --slim",
            got="--one-threshold" if one_threshold else method,
        )
    source = checkpoint.load(catalog.resolve(model))
    weigh = slim is not None if by_frequency is None else by_frequency
    words = expected_words(source.model, source.vocabulary) if weigh else None
    if prune is not None:
        new, done = _pruned(source.model, prune, only, one_threshold, words)
    elif joint_low_rank is not None:
        new, done = _joint(source.model, joint_low_rank, only)
    elif slim is not None:
        new, done = _slim(source.model, slim, parts, only, words)
    elif low_rank is not None:
        new, done = _low_rank(source.model, low_rank, only, words)
    else:
        new, done = _int8(source.model, only)
    done["by_frequency"] = weigh
    before, after = parts_of_model(source.model), parts_of_model(new)
    done["stored_bytes"] = {"before": _stored(before), "after": _stored(after)}
    card = compression.derived_card(source, Path(out).name, {"method": method.removeprefix("--"), **done})
    checkpoint.save(out, new, source.vocabulary, card)
    click.echo("\n".join(_report(before, after)), err=True)
    old = {part.name: _stored((part,)) for part in before}
    for part in after:
        if _stored((part,)) > old.get(part.name, math.inf):
            click.echo(f"nbest: warning: {part.name} has become larger", err=True)
    for note in compression.emptied(new):
        click.echo(f"nbest: warning: {note}", err=True)
    click.echo(f"{out}: {_stored(before):,} bytes of numbers before, {_stored(after):,} after", err=True)


def _one_of(given: dict[str, object]) -> str:
    """The option that is there."""
    chosen = [name for name, value in given.items() if value is not None and value is not False]
    if len(chosen) != 1:
        raise ConfigError(
            "how to compress", expected=f"one of {', '.join(given)}", got=", ".join(chosen) or "none of them"
        )
    return chosen[0]


def _pruned(
    model: "LanguageModel", share: float, only: Names, one_threshold: bool, words: "Tensor | None"
) -> "Made":
    from models.compression import compress, pruning_plan

    plan = pruning_plan(model, share, only, one_threshold=one_threshold)
    return compress(model, plan, words), {
        "share": share,
        "one_threshold": one_threshold,
        "matrices": list(plan),
    }


def _slim(
    model: "LanguageModel", choices: int, parts: int | None, only: Names, words: "Tensor | None"
) -> "Made":
    from models.compression import compress, slim_plan

    plan = slim_plan(model.config, choices, parts, only)
    return compress(model, plan, words), {
        "matrices": {name: spec.model_dump() for name, spec in plan.items()}
    }


def _low_rank(model: "LanguageModel", rank: int, only: Names, words: "Tensor | None") -> "Made":
    from models.compression import compress, plan_for
    from models.matrices.low_rank import LowRankSpec

    plan = plan_for(model.config, LowRankSpec(rank=rank), only)
    return compress(model, plan, words), {"matrices": list(plan), "rank": rank}


def _int8(model: "LanguageModel", only: Names) -> "Made":
    from models.compression import compress, int8_plan

    plan = int8_plan(model.config, only)
    return compress(model, plan), {"matrices": list(plan)}


def _joint(model: "LanguageModel", rank: int, only: Names) -> "Made":
    from models.compression import joint_low_rank

    if only is not None and sorted(only) != ["gates", "output"]:
        raise ConfigError(
            "a joint SVD takes all layers and the output",
            where="--only",
            expected="gates,output, or nothing",
            got=",".join(only),
        )
    return joint_low_rank(model, rank, embedding=only is None), {"rank": rank, "embedding": only is None}


def _stored(parts: "tuple[Part, ...]") -> int:
    """What the parts take on disk, each ending at a whole byte."""
    return sum(-int(-part.paper_bytes // 1) - int(-part.extra_bytes // 1) for part in parts)


def _report(before: "tuple[Part, ...]", after: "tuple[Part, ...]") -> list[str]:
    """A line a matrix: what it was, what it is."""
    old = {part.name: part for part in before}
    lines = []
    for part in after:
        was = old.get(part.name)
        if was is None:
            lines.append(f"{part.name}: new, {part.kind} {_shape(part)}, {_stored((part,)):,} bytes")
        elif (was.kind, was.shape) != (part.kind, part.shape):
            left = (
                f" ({part.parameters / was.parameters:.1%} of its numbers)" if part.kind == "pruned" else ""
            )
            lines.append(
                f"{part.name}: {was.kind} {_shape(was)}, {_stored((was,)):,} bytes -> "
                f"{part.kind} {_shape(part)}, {_stored((part,)):,} bytes{left}"
            )
        else:
            lines.append(f"{part.name}: as it was, {part.kind} {_shape(part)}")
    return lines


def _shape(part: "Part") -> str:
    return " x ".join(map(str, part.shape))
