"""nbest rescore: re-rank lists of any number, in the format they came in."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nbest.errors import ConfigError, shorten
from nbest.files import check_output, is_stream
from service.cli import options
from service.cli.loading import check_new_names, open_lists
from service.cli.progress import Progress

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.batch.block import Settings
    from rescoring.batch.output import Output
    from rescoring.formats import Blocks
    from rescoring.scorer import Named


_JOBS_OF_SERVER = 2  # one reads and writes while the other's texts are scored


def _parse_weights(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[float, ...]]:
    from rescoring.formats.numbers import finite

    weights: dict[str, tuple[float, ...]] = {}
    for value in values:
        name, equals, numbers = value.rpartition("=")
        if not (name and equals):
            raise ConfigError("not a weight", where="--weight", expected="NAME=VALUE", got=shorten(value))
        if name in weights:
            raise ConfigError("a weight is given twice", where="--weight", got=shorten(name))
        what = f"the weight of {shorten(name)}"
        weights[name] = tuple(finite(number, what, "--weight") for number in numbers.split(","))
    return weights


def _parse_jobs(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """A number of processes; 0 (and auto) for all processors, None where nothing is asked for."""
    if value is None:
        return None
    if value != "auto" and not (value.isascii() and value.isdigit() and len(value) < 5):
        raise ConfigError(
            "not a number of processes", where="--jobs", expected="N or auto", got=shorten(value)
        )
    return 0 if value == "auto" else int(value)


@click.command()
@options.lists_argument
@options.lm
@options.self_normalized
@options.precision
@options.server
@click.option("--weights", metavar="FILE", help="A weight set of `nbest tune`, or a moses.ini.")
@click.option(
    "--weight",
    "changes",
    multiple=True,
    callback=_parse_weights,
    metavar="NAME=VALUE",
    help="The weight of a feature or model, in place of the one in --weights or beside them; VALUE,VALUE for "
    "a feature of several columns. May repeat.",
)
@options.add_feature
@options.list_format
@options.features
@options.words
@options.beam_size
@click.option(
    "--unknown-feature",
    type=click.Choice(("error", "ignore")),
    default="error",
    show_default=True,
    help="What to do with a feature that the weights do not name.",
)
@options.model_text
@click.option("--one-best", is_flag=True, help="Write only the best text of each list.")
@click.option("--detokenize", is_flag=True, help="With --one-best: English as it is printed.")
@click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    show_default=True,
    help="Where nbest's own models run.",
)
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="Where the processes are: on this machine, or on the Ray cluster of RAY_ADDRESS (the extra ray). "
    "The output is the same.",
)
@click.option(
    "--jobs",
    callback=_parse_jobs,
    metavar="N",
    help="Processes, each with the models in its memory; the output is the same for any number. 0 or auto: "
    "all processors, as by default where there are models; 2 with --server; one with --device cuda. On a Ray "
    "cluster by default all its processors but one, or all its GPUs.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of each process; by default OMP_NUM_THREADS, else 1.",
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Say on standard error how far it is; by default where that is a terminal.",
)
@click.option(
    "--failed",
    metavar="FILE",
    callback=options.checked(check_output),
    help="Leave out lists that fail, and write their ids and the reasons here, a JSON object a line; then "
    "the exit code is 3. By default the first failure ends the run.",
)
@click.option(
    "--max-failed",
    type=click.IntRange(0),
    metavar="N",
    help="With --failed: end at more than N lists.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Insist that a killed run can be taken up again: an error where lists or output are a stream.",
)
@click.option("--restart", is_flag=True, help="Start over: drop what an unfinished run has left.")
@options.out("Where the lists go: a file, for Kaldi a directory; standard output by default.", check=None)
def rescore(
    lists: str,
    lms: tuple[str, ...],
    self_normalized: bool,
    precision: "Precision",
    server: str | None,
    key: str | None,
    weights: str | None,
    changes: dict[str, tuple[float, ...]],
    external: tuple[str, ...],
    list_format: str | None,
    features: list[str] | None,
    words_txt: str | None,
    beam_size: int | None,
    unknown_feature: str,
    text: str | None,
    one_best: bool,
    detokenize: bool,
    device: str,
    engine_name: str,
    jobs: int | None,
    threads: int | None,
    progress: bool | None,
    failed: str | None,
    max_failed: int | None,
    resume: bool,
    restart: bool,
    out: str,
) -> None:
    """Re-rank LISTS (a file or a Kaldi directory) with language models and feature weights.

    The output has the lists' format, the best first; features that were added and the new totals are in it.

    Each feature needs a weight, except what weighs 0 unless it is named: a model's count of unknown words
    (NAME.oov), word_count, and totals that decoders add. To add a model to a decoder as it is tuned:
    --weights moses.ini --lm small --weight small=0.5 (try some values on lists with references, or let
    `nbest tune --initial moses.ini` find all of them). Without any weights the decoder's total ranks with
    the models, which are weighed by how far each list is spread: untuned, as a warning says (docs/tuning.md).
    Features without a total are refused then.

    A run that was killed is taken up where it was when the same command is given again: until it is done, its
    finished blocks stand in OUT.nbest-partial.

    With --server only the models are elsewhere: lists, weights and output stay here, in every format.
    """
    from rescoring import pipeline
    from rescoring.batch.block import BLOCK_HYPOTHESES, Settings
    from rescoring.batch.run import Summary, run
    from rescoring.features import parse_external
    from rescoring.formats import check_target
    from rescoring.formats.aside import write_failures
    from rescoring.formats.moses import DECODER_TOTAL
    from rescoring.formats.notes import Notes
    from rescoring.parallel import processors
    from service.batch import Models, engine_here, engine_on_ray, identity_of_run
    from service.cli.loading import read_weights_for
    from service.cli.main import EXIT_SOME
    from service.device import check_device

    _check(detokenize and not one_best, "only texts are detokenized", "--detokenize", "--one-best")
    _check(max_failed is not None and failed is None, "no list is set aside", "--max-failed", "--failed FILE")
    on_ray = engine_name == "ray"
    _check(
        on_ray and server is not None,
        "the models of a server are not on a cluster",
        "--engine ray",
        "no --server",
    )
    _check(device != "cpu" and not lms, "no model to run there", "--device", "--lm")
    _check(resume and restart, "taken up or started over", "--resume", "no --restart")
    service = options.server_of(
        server,
        key,
        lms,
        self_normalized=self_normalized,
        precision=precision != "fp32",
        device=device != "cpu",
        threads=threads is not None,
    )
    if not on_ray:
        check_device(device, "--device")
    began = time.perf_counter()
    said = Progress(progress)
    given = [parse_external(argument) for argument in external]
    with open_lists(
        lists,
        list_format,
        features,
        words_txt,
        beam_size,
        size=BLOCK_HYPOTHESES,
        set_aside=failed is not None,
        progress=said.reading,
    ) as blocks:
        said.clear()
        no_names = blocks.format.name == "nemo" and not one_best
        _check(
            bool(failed) and no_names, "its lists have no names", "--failed with NeMo's format", "--one-best"
        )
        check_target(out, blocks.format.name, one_best=one_best)
        chosen = read_weights_for(weights, blocks) if weights is not None else None
        models = Models(lms, self_normalized, precision, threads, service, device=device)
        # The machine that gives out the work needs no GPU: it opens the models for their names alone.
        scorers = (replace(models, device="cpu") if on_ray else models).open()
        names = [_Name(scorer.name, scorer.digest) for scorer in scorers]
        check_new_names(blocks, names)
        if changes:
            chosen = pipeline.changed_weights(chosen, changes, names)
        settings = Settings(
            format=blocks.format.name,
            out=out,
            weights=chosen,
            unknown_feature="ignore" if unknown_feature == "ignore" else "error",
            text=text,
            one_best=one_best,
            detokenize=detokenize,
            with_total=DECODER_TOTAL in changes,  # a Moses line's own total, which is no feature otherwise
            set_aside=failed is not None,
        )
        _check_before(blocks, settings, names, [name for name, _ in given])
        summary = Summary(Notes(out), list(blocks.failures))
        files = [lists, *([words_txt] if words_txt else []), *(str(path) for _, path in given)]
        options_of_reading = [features, beam_size, list(external), None if words_txt is None else "words"]
        identity = identity_of_run(settings, models, names, files, options_of_reading)
        if on_ray:
            scorers = []  # they are opened in each process
            engine = engine_on_ray(settings, models, names, jobs or 0, blocks.count, _warn)
        else:
            if jobs is None:
                jobs = (_JOBS_OF_SERVER if service else 0) if scorers and device == "cpu" else 1
            jobs = min(jobs or processors(), blocks.count)
            if jobs > 1:
                scorers = []
            engine = engine_here(settings, models.known(names), scorers, jobs, _warn)
        with (
            _output(settings, blocks, lists, identity, resume=resume, restart=restart) as output,
            engine as working,
        ):
            try:
                run(
                    blocks,
                    settings,
                    given,
                    output,
                    working,
                    summary,
                    most_failures=max_failed,
                    progress=lambda one: said.rescored(one, blocks),
                )
            finally:
                said.clear()
                if failed is not None and summary.failures:
                    write_failures(summary.failures, failed)
        if failed is not None and not summary.failures:
            write_failures((), failed)
    summary.notes.log()
    for warning in summary.warnings:
        _warn(warning)
    counts = summary.scored or [(0, 0, 0)] * len(names)
    click.echo(
        f"lists {summary.lists}  hypotheses {summary.hypotheses}  changed 1-bests {summary.changed}  "
        + "".join(
            f"{name.name}: {texts} different texts, {tokens} tokens, {oov} oov  "
            for name, (texts, tokens, oov) in zip(names, counts, strict=True)
        )
        + f"seconds {time.perf_counter() - began:.2f}",
        err=True,
    )
    digests = {name.name: name.digest for name in names}
    signed = pipeline.ranking_signature(chosen, digests, _called(weights, changes), text)
    click.echo(f"signature {signed}", err=True)
    if service is not None:
        click.echo(f"scored by {service.url}", err=True)
    if summary.failures:
        _warn(f"{len(summary.failures)} lists were set aside: {failed}")
        click.get_current_context().exit(EXIT_SOME)


@dataclass(frozen=True)
class _Name:
    """A scorer that is perhaps open in other processes only."""

    name: str
    digest: str


def _check(wrong: bool, message: str, where: str, expected: str) -> None:
    if wrong:
        raise ConfigError(message, where=where, expected=expected)


def _warn(message: str) -> None:
    click.echo(f"nbest: warning: {message}", err=True)


def _check_before(
    blocks: "Blocks", settings: "Settings", names: "Sequence[Named]", external: Sequence[str]
) -> None:
    """Raises what would be raised of every block, before anything is scored."""
    from rescoring import pipeline

    pipeline.text_of(settings.weights, settings.text)
    some = next(iter(blocks))
    if settings.with_total or settings.weights is None:
        some = pipeline.with_decoder_total(some)
    pipeline.weigh(some, names, settings.weights, external, settings.unknown_feature)


@contextmanager
def _output(
    settings: "Settings",
    blocks: "Blocks",
    lists: str,
    identity: "dict[str, Any]",
    *,
    resume: bool,
    restart: bool,
) -> "Iterator[Output]":
    """One that can be taken up, where there is more than one block and neither side is a stream."""
    from rescoring.batch.journal import partial_of
    from rescoring.batch.output import resumable, straight

    streams = [path for path in (lists, settings.out) if is_stream(path)]
    if streams and resume:
        raise ConfigError(
            "a stream cannot be taken up again", where="--resume", expected="files", got=shorten(streams[0])
        )
    if streams or (blocks.count == 1 and not resume and not partial_of(settings.out).exists()):
        with straight(settings, blocks.source) as output:
            yield output
        return
    folder = partial_of(settings.out)
    has = 0
    try:
        with resumable(settings, blocks.source, blocks.count, identity, restart=restart) as output:
            if output.finished:
                done = f"{len(output.finished)} of {blocks.count} blocks"
                click.echo(f"nbest: {done} were finished by an earlier run: {folder}", err=True)
            try:
                yield output
            finally:
                has = output.count
    except BaseException:
        if has and folder.exists():
            done = f"{has} of {blocks.count} blocks"
            click.echo(f"nbest: {done} are kept, the same command goes on with them: {folder}", err=True)
        raise


def _called(weights: str | None, changes: dict[str, tuple[float, ...]]) -> str:
    """What the signature calls the weights; their content is in it too."""
    return Path(weights).name if weights else "given" if changes else "default"
