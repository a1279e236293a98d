"""nbest train: text in, language model out."""

from pathlib import Path
from typing import Any

import click

from nbest.errors import ConfigError, shorten
from nbest.files import check_output_directory
from service.cli import options

# Said here because the help must not wait for torch; a test holds both against what there is.
SYSTEMS = ("lstm", "belm", "bllm", "slim", "hashnet", "sparse", "low-rank", "projected", "tensor-train")
RECIPES = (
    "adapt",
    "captions",
    "english-small",
    "english-base",
    "english-tiny",
    "english-pieces",
    "ptb-lstm-500",
    "ptb-belm-500",
    "ptb-bllm-500",
    "ptb-200",
    "ptb-slim-300",
    "ptb-low-rank-650",
    "awd-ptb",
)


ONE_FILE = "one file: put several into one"
WORDS = ("vocabulary_size", "min_count", "lowercase", "unseen_types", "segmenter")  # of a recipe

_UNKNOWN = "Extra inputs are not permitted"  # pydantic's words for a name that does not exist


class CardText(click.types.StringParamType):
    """Text for the model's card, which is UTF-8; the directory's name is in it too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; an argument of other bytes is an error before training, not after it."""
        text = str(super().convert(value, param, ctx))
        if text.encode(errors="ignore").decode() != text:
            self.fail(f"not UTF-8: {text!r}", param, ctx)
        return text


def _parse_options(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    import json

    parsed: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {shorten(value)}")
        try:
            parsed[name] = json.loads(text)
        except (ValueError, RecursionError):
            parsed[name] = text
    return parsed


def _check_place(path: str) -> None:
    """A run that has ended is not begun again."""
    if all((Path(path) / name).is_file() for name in ("config.json", "model.safetensors", "card.json")):
        raise ConfigError(
            "the training is finished: the model is there",
            where=path,
            expected="another name to train another model, or remove it to train it again",
        )
    check_output_directory(path)


@click.command()
@click.option(
    "--system",
    metavar="NAME",
    help=f"One of {', '.join(SYSTEMS)}.  [default: the recipe's, or that of --init; else lstm]",
)
@options.single(
    "--train",
    "train_text",
    noun="training text",
    advice=ONE_FILE,
    metavar="FILE",
    help="Training text, a sentence a line.",
)
@options.single(
    "--valid", "valid_text", noun="validation text", advice=ONE_FILE, metavar="FILE", help="Validation text."
)
@click.option(
    "--out",
    required=True,
    callback=options.checked(_check_place),
    type=CardText(),
    metavar="DIR",
    help="Where the model goes.",
)
@click.option(
    "--recipe", metavar="NAME|FILE", help=f"A recipe that ships ({', '.join(RECIPES)}) or a TOML file."
)
@click.option(
    "--init",
    metavar="MODEL",
    help="Start from a trained model, a directory or one that ships: its words and its matrices; the very "
    "same model unless a system or sizes are given. With --recipe adapt it learns your text in one pass; "
    "other learning rates may be too much for it.",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    help="Learn from a trained model, a directory or one that ships, beside the text: its words are the new "
    "model's (teacher_weight, teacher_temperature).",
)
@click.option("--hidden-size", type=int, help="Cells of each LSTM layer; also the size of word vectors.")
@click.option("--layers", type=int, help="LSTM layers.")
@click.option("--vocabulary-size", type=int, help="Largest number of words.")
@click.option("--min-count", type=int, help="Words seen less often are <unk>.")
@click.option("--lowercase/--keep-case", default=None, help="Lower-case texts, here and whenever it scores.")
@click.option("--state", type=click.Choice(("sentence", "stream")), help="Where the state is reset.")
@click.option("--epochs", type=int, help="Most passes over the training text.")
@click.option("--seed", type=int, help="Of initial weights, dropout and order.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    callback=_parse_options,
    metavar="NAME=VALUE",
    help="Any other value of the recipe, such as learning_rate=0.002 or loss=nce. May repeat.",
)
@click.option(
    "--option",
    "system_options",
    multiple=True,
    callback=_parse_options,
    metavar="NAME=VALUE",
    help="An option of the system, such as ratio=0.05 or parts=8 of slim. May repeat.",
)
@click.option("--licence", type=CardText(), metavar="TEXT", help="For the model's card.")
@click.option(
    "--attribution", type=CardText(), multiple=True, metavar="TEXT", help="For the model's card. May repeat."
)
@click.option("--description", type=CardText(), default="", metavar="TEXT", help="For the model's card.")
@click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    show_default=True,
    help="Where to train.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default torch's choice.")
def train(
    train_text: str,
    valid_text: str,
    out: str,
    recipe: str | None,
    init: str | None,
    teacher: str | None,
    changes: dict[str, Any],
    system_options: dict[str, Any],
    licence: str | None,
    attribution: tuple[str, ...],
    description: str,
    device: str,
    threads: int | None,
    **named: Any,
) -> None:
    """Train a language model.

    A run that is stopped goes on where it was when the same command is given again: it ends with the very
    model that it would have ended with. Progress goes to standard error.
    """
    import torch

    from models.architectures import check_options
    from models.catalog import resolve
    from models.checkpoint import ModelCard
    from models.training.ingredients import Texts
    from models.training.recipe import Recipe, make_recipe, read_recipe
    from models.training.trainer import Trainer
    from nbest.files import check_rereadable

    for path in (train_text, valid_text):
        check_rereadable(path)
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device here", where="--device", expected="cpu", got="cuda")
    if threads is not None:
        torch.set_num_threads(threads)
    values = {name: value for name, value in named.items() if value is not None} | changes
    if system_options:
        values["options"] = system_options
    for option, source in (("--init", init), ("--teacher", teacher)):
        if source is not None:
            _check_words(values, option)
    if teacher is None:
        _check_no_teacher(values)
    file = None if recipe is None else _recipe_path(recipe)
    try:
        made = make_recipe(values) if file is None else read_recipe(file, values)
    except ConfigError as error:
        name, _, problem = error.message.partition(": ")
        where = "--set" if name in changes else error.where
        if problem != _UNKNOWN:
            raise ConfigError(error.message, where=where, expected=error.expected, got=error.got) from None
        raise _unknown("value of a recipe", name, sorted(Recipe.model_fields), where) from None
    if "system" in made.model_fields_set or init is None:
        check_options(made.system, system_options, "--option")
        check_options(made.system, made.options, None if file is None else str(file))
    card = ModelCard(
        name=Path(out).name, description=description, licence=licence, attribution=list(attribution)
    )
    Trainer(
        made,
        Texts(Path(train_text), Path(valid_text)),
        Path(out),
        init=None if init is None else resolve(init),
        teacher=None if teacher is None else resolve(teacher),
        report=lambda line: click.echo(line, err=True),
        device=device,
        card=card,
    ).run()


def _check_words(given: dict[str, Any], option: str) -> None:
    """Raises ConfigError for what would choose the words where a model has its own."""
    if chosen := given.keys() & WORDS:
        raise ConfigError(
            "the words are those of that model",
            where=option,
            expected=f"none of {', '.join(WORDS)}",
            got=", ".join(sorted(chosen)),
        )


def _check_no_teacher(given: dict[str, Any]) -> None:
    if chosen := [name for name in given if name.startswith("teacher_")]:
        raise ConfigError("there is no teacher", where="--set", expected="--teacher MODEL", got=chosen[0])


def _recipe_path(name: str) -> Path:
    """A recipe that ships, by name, or a file."""
    from importlib import resources

    shipped = Path(str(resources.files("models.training"))) / "recipes" / f"{name}.toml"
    if shipped.is_file():
        return shipped
    if not Path(name).exists():
        raise ConfigError(
            "no such recipe",
            where="--recipe",
            expected=f"a TOML file, or one that ships: {', '.join(RECIPES)}",
            got=shorten(name),
        )
    return Path(name)


def _unknown(what: str, name: str, known: list[str], where: str | None) -> ConfigError:
    return ConfigError(
        f"no such {what}", where=where, expected=f"one of {', '.join(known)}", got=shorten(name)
    )
