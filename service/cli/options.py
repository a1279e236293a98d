"""Options that several commands share, said once: the same word means the same everywhere."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nbest.errors import ConfigError, FormatError, shorten
from nbest.files import check_output, read_lines

if TYPE_CHECKING:
    from rescoring.formats.base import BeamSize
    from service.remote import Server

F = TypeVar("F", bound=Callable[..., Any])
# The names of rescoring.formats.FORMATS, said here so that help needs no numpy; a test compares them.
LIST_FORMATS = ("moses", "kaldi", "jsonl", "mlm", "espnet", "srilm", "fairseq", "nemo")


def single(*names: str, noun: str, advice: str, metavar: str, help: str) -> Callable[[F], F]:  # noqa: A002
    """A required option that others let repeat; given twice it is refused: the last would else win unsaid."""

    def check(_context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str:
        if len(values) > 1:
            got = shorten(", ".join(values))
            raise ConfigError(f"one {noun} at a time", where=option.opts[0], expected=advice, got=got)
        return values[0]

    return click.option(*names, required=True, multiple=True, callback=check, metavar=metavar, help=help)


def names(_context: click.Context, option: click.Parameter, value: str | None) -> list[str] | None:
    """A callback of NAME,NAME."""
    if not value:
        return None
    found = value.split(",")
    if not all(found):
        raise ConfigError("an empty name", where=option.opts[0], expected="NAME,NAME", got=shorten(value))
    return found


lists_argument = click.argument("lists", type=str)

lm = click.option(
    "--lm",
    "lms",
    multiple=True,
    metavar="[NAME=]MODEL",
    help="Language model: a directory, the name of one that ships with nbest, kenlm:FILE, or a mixture "
    "word by word: mix:0.7*MODEL+0.3*MODEL. Its feature is called as the directory or file is, or NAME. "
    "May repeat.",
)
self_normalized = click.option(
    "--self-normalized",
    is_flag=True,
    help="Take the normaliser for constant: faster, and only for models trained with loss=nce.",
)
precision = click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="Of nbest's own models: fp32 is exact, int8 a little off and faster (with the compiled "
    "kernels), once thousands of texts make up for the seconds that it takes to open.",
)
_server = click.option(
    "--server",
    metavar="URL",
    help="Score with the models of this service (nbest serve), as --lm names them there; torch is not needed "
    "here.",
)
_key = click.option(
    "--key",
    envvar="NBEST_KEY",
    show_envvar=True,
    metavar="KEY",
    help="The service's key; better in the environment, for others see the arguments of a command.",
)


def server(command: F) -> F:
    """--server and --key."""
    return _server(_key(command))


def server_of(url: str | None, key: str | None, lms: Sequence[str], **local: bool) -> "Server | None":
    """The service, if one is asked for; raises ConfigError where options of `local` models are given too."""
    if url is None:
        source = click.get_current_context().get_parameter_source("key")
        if source is click.core.ParameterSource.COMMANDLINE:
            raise ConfigError("a key for no service", where="--key", expected="--server URL")
        return None
    from service.remote import Server

    if not lms:
        raise ConfigError("no model of the service is named", where="--server", expected="--lm NAME")
    if given := [name for name, is_given in local.items() if is_given]:
        flag = f"--{given[0].replace('_', '-')}"
        raise ConfigError("the service decides this", where=flag, expected="models of this machine", got=url)
    return Server(url, key)


list_format = click.option(
    "--format",
    "--from",
    "list_format",
    type=click.Choice(LIST_FORMATS),
    help="Format of the lists; told from their content by default.",
)
features = click.option(
    "--features",
    metavar="NAME,NAME",
    callback=names,
    help="Use only these features of the lists; by default all. Of a Kaldi directory these tables (acwt is "
    "ac, lmwt.NAME is NAME), or 'all' of them; by default all but lmwt.withlm where there is lmwt.lmonly, "
    "lmwt.interp.*, which are sums and mixtures of others, and an lmwt.nolm that is 0 everywhere.",
)
words = click.option(
    "--words", "words_txt", metavar="FILE", help="Kaldi's words.txt, for directories with word ids only."
)


def _parse_beam_size(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> "BeamSize | None":
    """A number, or a file with a number a line."""
    if value is None or (value.isascii() and value.isdigit() and 0 < int(value) < 10**6):
        return None if value is None else int(value)
    sizes = []
    for number, line in read_lines(value):
        size = line.strip(" \t")
        if not (size.isascii() and size.isdigit() and len(size) < 7):
            raise FormatError(
                "not the size of a list", where=f"{value}:{number}", expected="a number", got=shorten(line)
            )
        sizes.append(int(size))
    return tuple(sizes)


beam_size = click.option(
    "--beam-size",
    callback=_parse_beam_size,
    metavar="N",
    help="Hypotheses a list, for NeMo's files, which do not say it; or a file with the size of each list, "
    "one a line.",
)
add_feature = click.option(
    "--add-feature",
    "external",
    multiple=True,
    metavar="NAME=FILE",
    help="One more feature: a file with one number per hypothesis, SRILM's score directory, or mlm-scoring's "
    "JSON. A unit may stand before it (log10:FILE, cost:FILE). May repeat.",
)
references = click.option(
    "--ref",
    "references",
    multiple=True,
    type=str,
    metavar="FILE",
    help="Reference texts, one a line, or Kaldi's text. May repeat for several references; of files FILE0, "
    "FILE1, ... (Moses) the name without the number will do.",
)


def metric(command: F) -> F:
    """--metric and what belongs to it."""
    chosen = click.option(
        "--metric",
        "metric_name",
        metavar="NAME",
        required=True,
        help="bleu, chrf (larger is better); wer, cer, ter (smaller is better); or a sum: bleu-0.5*ter.",
    )
    tokenize = click.option(
        "--tokenize",
        default="none",
        show_default=True,
        metavar="NAME",
        help="BLEU: sacrebleu's tokenizer; 13a for plain text.",
    )
    lowercase = click.option("--lowercase", is_flag=True, help="BLEU and chrF: ignore case.")
    return chosen(tokenize(lowercase(command)))


_STEPS = "raw, lower, tags, hesitations, bpe, sentencepiece, factors, unescape, detokenize (commas between)"


def filters(command: F) -> F:
    """--filter and --ref-filter: what is done to texts before they are compared."""
    both = click.option(
        "--filter",
        "text_filter",
        default="raw",
        show_default=True,
        metavar="NAME",
        help=f"What is done to hypotheses and references before they are compared: {_STEPS}.",
    )
    reference = click.option(
        "--ref-filter",
        "reference_filter",
        default="raw",
        show_default=True,
        metavar="NAME",
        help="What is done to references before that.",
    )
    return both(reference(command))


detokenize = click.option(
    "--detokenize", is_flag=True, help="Compare English as it is printed: --filter detokenize."
)


def output_format(what: str) -> Callable[[F], F]:
    """--format of `what` is scored."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(("lines", "kaldi-text", *LIST_FORMATS)),
        help=f"Format of {what}; told from the content by default.",
    )


model_text = click.option(
    "--text", default=None, metavar="NAME", help=f"What is done to a text before a model scores it: {_STEPS}."
)
samples = click.option(
    "--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap."
)
seed = click.option(
    "--seed", type=click.IntRange(0), default=12345, show_default=True, help="Of all samples."
)
by = click.option(
    "--by",
    "groupings",
    multiple=True,
    metavar="NAME[=SOURCE]",
    help="Break the score down: length; oov=FILE (a word list) or oov=MODEL (as --lm takes it); or any other "
    "NAME, such as speaker or corpus, of labels: NAME=FILE ('segment label' a line, as Kaldi's utt2spk, or a "
    "label a line) or NAME=prefix:_ (what stands before _ in a segment's id). May repeat.",
)
cluster = click.option(
    "--cluster",
    metavar="SOURCE",
    help="Resample whole groups of segments, such as speakers: SOURCE is a file or prefix:_ as of --by. "
    "Utterances of one speaker are not independent.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def checked(check: Callable[[str], None]) -> Callable[..., str | None]:
    """A click callback that says before anything is read that a place cannot be written."""

    def callback(_context: click.Context, _option: click.Parameter, path: str | None) -> str | None:
        if path is not None:
            check(path)
        return path

    return callback


def out(
    help: str,  # noqa: A002
    *names: str,
    required: bool = False,
    default: str | None = "-",
    check: Callable[[str], None] | None = check_output,
) -> Callable[[F], F]:
    """--out, or other `names`: a file, written whole or not at all; standard output by default.

    `check` None is for lists: only their format says whether they go to a file.
    """
    # click takes a default of None for a value, and asks for no required option that has one.
    return click.option(
        *(names or ("--out",)),
        **({"required": True} if required else {"default": default}),
        callback=checked(check) if check else None,
        metavar="FILE",
        help=help,
    )
