"""The command `nbest`: names of the commands, and how each ending becomes an exit code.

0   done                          2   the input or the command line is wrong
1   a fault of ours               3   done, but lists were set aside (rescore --failed)
75  busy, try later
130 interrupted                   141 whoever read the output went away
129, 143 hung up, terminated: as interrupted, nothing half-written is left
"""

import importlib
import os
import signal
import sys
from types import FrameType

import click
from click.shell_completion import CompletionItem

from nbest import __version__
from nbest.errors import BusyError, InputError, NbestError, is_out_of_memory
from service.cli.completion import complete_values
from service.cli.loading import show_notices

EXIT_FAULT, EXIT_INPUT, EXIT_SOME, EXIT_BUSY, EXIT_INTERRUPTED, EXIT_PIPE = 1, 2, 3, 75, 130, 141

# Name -> its line in the help. The module service.cli.NAME holds a command of the same name.
COMMANDS = {
    "train": "Train a language model.",
    "compress": "Make a trained model smaller.",
    "prepare": "Make training text of raw English.",
    "info": "What is in a model: parameters and bytes part by part.",
    "models": "List the models that ship with nbest.",
    "score": "Log-probabilities of sentences.",
    "tune": "Find feature weights that make the best hypotheses win.",
    "rescore": "Re-rank n-best lists with language models and weights.",
    "consensus": "Choose what is least wrong on average, with confidences.",
    "evaluate": "BLEU, WER and others of an output, with its interval.",
    "compare": "Whether one system is better than another, or luckier.",
    "report": "Weights, list depth and changed segments on one HTML page.",
    "oracle": "The best score the lists allow.",
    "convert": "Read n-best lists in one format, write them in another.",
    "serve": "Serve rescoring over HTTP.",
    "keys": "Make, list and take back the keys of a service.",
    "doctor": "What is installed and works here, and what to do.",
    "completion": "What makes the TAB key of your shell know all this.",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is run, so that `nbest --help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"service.cli.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar is None:
                option.envvar = _variable(cmd_name, option)
        complete_values(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, without importing every command for its line."""
        named = [CompletionItem(name, help=line) for name, line in COMMANDS.items()]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(item for item in named if item.value.startswith(incomplete)), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name is answered with the known ones."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"no such command {args[0]!r}; expected one of {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; errors of ours become one line and an exit code."""
        show_notices()
        try:
            return super().invoke(ctx)
        except Stopped as stop:
            click.echo(f"nbest: stopped by {signal.Signals(stop.number).name}", err=True)
            ctx.exit(128 + stop.number)
        except InputError as error:
            _say(error)
            ctx.exit(EXIT_INPUT)
        except BusyError as error:
            _say(error)
            ctx.exit(EXIT_BUSY)
        except NbestError as error:
            _say(error)
            ctx.exit(EXIT_FAULT)
        except KeyboardInterrupt:
            click.echo("nbest: interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            ctx.exit(EXIT_PIPE)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _say(NbestError(f"not enough memory ({str(error).splitlines()[0] if str(error) else 'no more'})"))
            ctx.exit(EXIT_FAULT)
        except OSError as error:
            where = None if error.filename is None else str(error.filename)
            _say(InputError(error.strerror or str(error), where=where))
            ctx.exit(EXIT_INPUT)
        finally:
            _give_up_output()


class Stopped(BaseException):
    """A signal asks to stop: everything is tidied up on the way out, as for an interrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _give_up_output() -> None:
    """What is still buffered nobody takes: the interpreter must not try to flush it at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _variable(command: str, option: click.Option) -> str:
    """--add-feature of rescore is NBEST_RESCORE_ADD_FEATURE, whatever the parameter is called."""
    flag = max(option.opts, key=len)
    return f"NBEST_{command}{flag[1:]}".upper().replace("-", "_")


def _say(error: NbestError) -> None:
    click.echo(f"nbest: error: {error}", err=True)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="nbest")
@click.pass_context
def nbest(context: click.Context) -> None:
    """Rescore n-best lists with compressed language models.

    Every option can also be set in the environment: --lm of `nbest score` as NBEST_SCORE_LM.
    """
    if context.invoked_subcommand == "serve":  # it drains, and has its own way to stop
        return
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_DFL:  # not under nohup
            signal.signal(number, _stop)
            context.call_on_close(lambda number=number: signal.signal(number, signal.SIG_DFL))


def main() -> None:
    """Entry point."""
    try:
        nbest(prog_name="nbest")
    except KeyboardInterrupt:  # before the command began
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
