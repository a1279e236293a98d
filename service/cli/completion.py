"""nbest completion: the shell's TAB key knows commands, options, and what an option takes.

What a value may be is told by the option's name or its metavar, so that a new option of a known kind is
completed without a word said here. Nothing of it takes torch: TAB must not wait.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

Completions = Callable[[str], list[CompletionItem]]

SHELLS = ("bash", "zsh", "fish")
# Names of models.architectures and rescoring.metrics, which need torch and sacrebleu; a test compares them.
SYSTEMS = ("lstm", "belm", "bllm", "slim", "hashnet", "sparse", "low-rank", "projected", "tensor-train")
METRICS = ("bleu", "chrf", "ter", "wer", "cer")
TOKENIZERS = ("none", "13a", "intl", "char", "zh")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes the TAB key of SHELL complete commands, options, models, formats and files.

    \b
    bash (4.4 or newer), in ~/.bashrc:   eval "$(nbest completion bash)"
    zsh, in ~/.zshrc after compinit:     eval "$(nbest completion zsh)"
    fish, once:   nbest completion fish > ~/.config/fish/completions/nbest.fish
    """
    from service.cli.main import nbest

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(nbest, {}, "nbest", "_NBEST_COMPLETE").source())


class Completed(click.types.StringParamType):
    """A text, `inner` as it was, of which the shell can know how it may go on."""

    def __init__(self, inner: click.types.StringParamType, completions: Completions) -> None:
        self.inner = inner
        self.completions = completions

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As `inner` does."""
        return str(self.inner.convert(value, param, ctx))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What begins with `incomplete`."""
        return self.completions(incomplete)


def complete_values(command: click.Command) -> None:
    """Gives each plain-text parameter of `command`, and of commands within it, its completions."""
    for parameter in command.params:
        known, kind = _known(parameter), parameter.type
        if known is not None and isinstance(kind, click.types.StringParamType):
            parameter.type = Completed(kind, known)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            complete_values(inner)


def _known(parameter: click.Parameter) -> Completions | None:
    named = _BY_NAME.get(max(parameter.opts, key=len))
    return named or _BY_METAVAR.get(parameter.metavar or str(parameter.name).upper())


def _names(names: Iterable[str], incomplete: str, before: str = "") -> list[CompletionItem]:
    return [CompletionItem(before + name) for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[CompletionItem]:
    """Left to the shell, which knows files and directories."""
    return [CompletionItem(incomplete, type="file")]


def _directories(incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="dir")]


def _models(incomplete: str) -> list[CompletionItem]:
    """Shipped models and directories; bash shows the second kind where none of the first fits."""
    from models import catalog

    return [*_directories(incomplete), *_names(catalog.names(), incomplete)]


def _joined(names: Sequence[str], incomplete: str) -> list[CompletionItem]:
    """One more of several names with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    left = [name for name in names if name not in before.split(",")]
    return _names(left, last, before + comma)


def _shipped(incomplete: str) -> list[CompletionItem]:
    from models import catalog

    return _joined(catalog.names(), incomplete)


def _pipelines(incomplete: str) -> list[CompletionItem]:
    from rescoring.text import DEFAULT_PIPELINE, STEPS

    names = [name.partition(".")[0] for name in STEPS]
    alone = [DEFAULT_PIPELINE] if "," in incomplete else []  # it does not go with others
    return _joined([name for name in names if name not in alone], incomplete)


def _metrics(incomplete: str) -> list[CompletionItem]:
    return _names(METRICS, incomplete)


def _tokenizers(incomplete: str) -> list[CompletionItem]:
    return _names(TOKENIZERS, incomplete)


def _systems(incomplete: str) -> list[CompletionItem]:
    return _names(SYSTEMS, incomplete)


_BY_NAME: dict[str, Completions] = {
    "--metric": _metrics,
    "--tokenize": _tokenizers,
    "--text": _pipelines,
    "--filter": _pipelines,
    "--ref-filter": _pipelines,
    "--system": _systems,
    "--preload": _shipped,
    "--merge": _files,
    "--cluster": _files,
}
_BY_METAVAR: dict[str, Completions] = {
    "FILE": _files,
    "FILE[:WORDS]...": _files,
    "NAME|FILE": _files,
    "LISTS": _files,
    "SENTENCES": _files,
    "OUTPUT": _files,
    "A": _files,
    "B": _files,
    "DIR": _directories,
    "MODEL": _models,
    "[NAME=]MODEL": _models,
    "[MODEL]...": _models,
}
