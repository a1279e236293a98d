"""nbest doctor: what is installed and works here, and what to do about what does not.

A check never ends the others: what it stumbles over becomes its answer.
"""

import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from nbest import __version__
from nbest.errors import NbestError
from service.cli import options

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from service.remote import Server

# Nats a word between the engine and the reference. fp32: what the engine promises (NativeEngine's docstring).
# int8: three times the largest of benchmarks/results/precision.json, 0.0068.
TOLERANCE = {"fp32": 1e-4, "int8": 0.02}
TEXTS = (
    "the weather is nice today",
    "a man is riding a horse .",
    "",
    "and then zzyzx said so",
    "today today",
)
SPEED_SECONDS = 0.5  # of scoring texts of random words
SPEED_TEXTS, SPEED_WORDS = 64, 12
_SERVER_SECONDS = 10.0

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    state  `ok`; `absent`: optional, and not here; `broken`: something will not work, `todo` says what to do
    facts  what a machine may want to read
    """

    name: str
    state: State
    says: str
    todo: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@options.precision
@options.server
@options.as_json
def doctor(
    models: tuple[str, ...], precision: "Precision", server: str | None, key: str | None, as_json: bool
) -> None:
    """Look at this installation: what is there, what works, how fast. Exit code 1 if anything is broken.

    The shipped models, and every MODEL (a directory), score a few texts, which the slow, obvious scorer
    scores too; they have to agree within 0.0001 nats a word (--precision int8: within 0.02, and opening a
    model takes some seconds). Tokens a second are of random words, so that no two texts begin alike.

    With --server also what a service says: whether it is ready, its version and models. Nothing is loaded
    there.
    """
    service = options.server_of(server, key, ["-"])
    found = []
    for check in _checks(models, precision, service):
        found.append(check)
        if not as_json:
            click.echo(f"{check.state:<8}{check.name:<15} {check.says}")
            if check.todo:
                click.echo(f"{'':<24}-> {check.todo}")
    broken = [check.name for check in found if check.state == "broken"]
    if as_json:
        document = {"ok": not broken, "broken": broken, "checks": [asdict(check) for check in found]}
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        click.echo(f"broken: {', '.join(broken)}" if broken else "all is well")
    if broken:
        click.get_current_context().exit(1)


def _checks(models: tuple[str, ...], precision: "Precision", service: "Server | None") -> Iterator[Check]:
    yield Check("nbest", "ok", f"{__version__}  {Path(__file__).parents[2]}", facts={"version": __version__})
    yield Check(
        "python", "ok", f"{platform.python_version()}  {sys.executable}", facts={"path": sys.executable}
    )
    yield _guarded("processors", _processors)
    torch = _guarded("torch", lambda: _torch(needed=service is None))
    yield torch
    for name, what, modules in _EXTRAS:
        yield _guarded(name, partial(_extra, name, what, modules))
    if torch.state == "ok":
        yield _guarded("devices", _devices)
        kernels = _guarded("nbest-native", _kernels)
        yield kernels
        yield _guarded("precisions", lambda: _precisions(kernels))
        yield from _models(models, precision)
    if service is not None:
        yield from _service(service)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check's answer; an error of any kind is one too."""
    try:
        return check()
    except NbestError as error:
        told = f"{error.where}: {error.message}" if error.where else error.message
        told += f"; got {error.got}" if error.got else ""
        return Check(name, "broken", told, f"expected {error.expected}" if error.expected else "")
    except Exception as error:  # also of libraries: whatever it is, the other checks go on
        return Check(name, "broken", f"{type(error).__name__}: {str(error).strip() or 'no message'}")


def _processors() -> Check:
    from service.memory import processors

    usable, there, told = processors(), os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS")
    says = f"{usable} of {there} may be used; OMP_NUM_THREADS is {told or 'not set'}"
    return Check("processors", "ok", says, facts={"usable": usable, "there": there, "omp_num_threads": told})


def _torch(needed: bool) -> Check:
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        if not needed:
            return Check("torch", "absent", "not installed: models are scored with --server only")
        return Check("torch", "broken", "not installed", "pip install torch, or score with --server URL")
    threads = torch.get_num_threads()
    facts = {"version": str(torch.__version__), "threads": threads}
    return Check("torch", "ok", f"{torch.__version__}, threads: {threads}", facts=facts)


# The extra, what it is for, and the modules of which one is enough.
_EXTRAS = (
    ("kenlm", "n-gram models, --lm kenlm:FILE", ("kenlm",)),
    ("sentencepiece", "models of pieces of words", ("sentencepiece",)),
    ("ray", "batches on several machines, --engine ray", ("ray",)),
    ("zstd", "files called .zst", ("compression.zstd", "backports.zstd")),
)


def _extra(name: str, what: str, modules: tuple[str, ...]) -> Check:
    for module in modules:
        if _is_there(module):
            importlib.import_module(module)
            return Check(name, "ok", what)
    return Check(name, "absent", f"not installed: {what}", f"pip install 'nbest[{name}]'")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def _devices() -> Check:
    import torch

    there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    names = [platform.machine(), *(torch.cuda.get_device_name(k) for k in range(len(there) - 1))]
    says = ", ".join(f"{device} ({name})" for device, name in zip(there, names, strict=True))
    return Check("devices", "ok", says, facts={"devices": there})


def _kernels() -> Check:
    from models.scoring.native_engine import kernels

    found = kernels()
    if found is not None:
        first, *others = found.isas()
        says = f"{first} (the CPU also runs {', '.join(others) or 'no other'}), {found.__file__}"
        facts = {"instruction_set": first, "runs": [first, *others], "int8": bool(found.has_int8(first))}
        return Check("nbest-native", "ok", says, facts=facts)
    how = "`make native` in a checkout, or pip install nbest-native (a C++ compiler is needed)"
    if not _is_there("nbest_native"):
        return Check("nbest-native", "absent", "no compiled kernels: torch scores, several times slower", how)
    try:
        importlib.import_module("nbest_native")
    except ImportError as error:
        return Check("nbest-native", "broken", f"installed, and cannot be loaded: {error}", how)
    raise AssertionError("kernels() found none, yet they can be imported")


def _precisions(kernels: Check) -> Check:
    has_int8 = bool(kernels.facts.get("int8"))
    if has_int8:
        says = "fp32, int8"
    elif kernels.state == "ok":
        says = (
            f"fp32; int8 is computed as fp32, for {kernels.facts['instruction_set']} has no products of bytes"
        )
    else:
        says = "fp32; int8 needs the compiled kernels"
    return Check("precisions", "ok", says, facts={"fp32": True, "int8": has_int8})


def _models(given: tuple[str, ...], precision: "Precision") -> Iterator[Check]:
    from models import catalog

    shipped = catalog.shipped()
    if not shipped:
        yield Check("models", "broken", "no models ship with this installation", "install nbest again")
    for name in (*shipped, *given):
        path = shipped.get(name)  # not a directory that is called so here
        yield _guarded(f"model {name}", partial(_model, name, path, precision))


def _model(name: str, path: Path | None, precision: "Precision") -> Check:
    """Scores texts twice: as every command does, and by the papers' equations."""
    from models import catalog, checkpoint
    from models.scoring.reference import ReferenceScorer

    loaded = checkpoint.load(path or catalog.resolve(name))
    scorer = catalog.open_scorer(str(loaded.path), precision=precision)
    got = scorer.score(TEXTS)
    reference = ReferenceScorer(loaded.model, loaded.vocabulary)
    off = max(
        abs(number - reference.score(text)) / count
        for text, number, count in zip(
            TEXTS, got.nat_log_probs.tolist(), got.token_counts.tolist(), strict=True
        )
    )
    speed = _speed(scorer, loaded.vocabulary.words)
    facts = {
        "path": str(loaded.path),
        "digest": loaded.digest,
        "precision": precision,
        "nats_a_word_off": off,
        "tolerance": TOLERANCE[precision],
        "tokens_a_second": round(speed),
    }
    agreement = f"{off:.1e} nats a word off the reference"
    if not off <= TOLERANCE[precision]:  # NaN too
        todo = "build nbest-native again, or remove it; then report this with the output of --json"
        wrong = f"scores are wrong: {agreement}, more than {TOLERANCE[precision]}"
        return Check(f"model {name}", "broken", wrong, todo, facts)
    says = f"{loaded.digest[:19]}  {agreement}, {speed:,.0f} tokens a second"
    return Check(f"model {name}", "ok", says, facts=facts)


def _speed(scorer: Any, words: tuple[str, ...]) -> float:
    """Tokens a second of texts of random words, `SPEED_SECONDS` long, after a first lot to warm up."""
    import numpy as np

    chance = np.random.default_rng(1)
    tokens, began, seconds = 0, 0.0, 0.0
    for lot in range(1_000_000):
        picked = chance.integers(0, len(words), (SPEED_TEXTS, SPEED_WORDS))
        texts = [" ".join(words[word] for word in row) for row in picked.tolist()]
        started = time.perf_counter()
        count = int(scorer.score(texts).token_counts.sum())
        if lot:
            tokens += count
            seconds += time.perf_counter() - started
        else:
            began = time.perf_counter()
        if lot and time.perf_counter() - began >= SPEED_SECONDS:
            break
    return tokens / seconds


def _service(server: "Server") -> Iterator[Check]:
    """What a service says of itself: nothing is loaded there, nothing scored."""
    name = "server"
    try:
        status, _ = _get(server, "/livez")
    except (OSError, HTTPException) as error:
        todo = "is `nbest serve` running there? the address is --server http://HOST:PORT"
        yield Check(name, "broken", f"{server.url} cannot be reached: {error}", todo)
        return
    if status != 200:
        todo = "is it nbest's? its /livez answers 200"
        yield Check(name, "broken", f"{server.url} answers {status}", todo)
        return
    yield _guarded(name, lambda: _ready(server))
    yield _guarded("server's version", lambda: _version(server))
    yield _guarded("server's models", lambda: _their_models(server))


def _ready(server: "Server") -> Check:
    status, told = _get(server, "/readyz")
    if status == 200:
        return Check("server", "ok", f"{server.url} is ready")
    why = told.get("detail") or f"/readyz answers {status}"
    return Check("server", "broken", f"{server.url} is not ready: {why}", "wait, or read the service's log")


def _version(server: "Server") -> Check:
    _, told = _get(server, "/openapi.json")
    theirs = (told.get("info") or {}).get("version")
    if theirs is None:
        return Check("server's version", "broken", "it does not say", f"is {server.url} nbest's?")
    same = "as here" if theirs == __version__ else f"here it is {__version__}"
    return Check("server's version", "ok", f"{theirs}, {same}", facts={"version": theirs})


def _their_models(server: "Server") -> Check:
    name = "server's models"
    status, told = _get(server, "/v1/models")
    if status in (401, 403):
        return Check(name, "broken", str(told.get("detail", status)), "give the key: NBEST_KEY, or --key KEY")
    if status != 200:
        return Check(name, "broken", f"/v1/models answers {status}: {told.get('detail', '')}")
    models = {one["name"]: one.get("digest") for one in told.get("models", [])}
    said = [f"{model} {(digest or 'no digest: it cannot be read')[:19]}" for model, digest in models.items()]
    return Check(name, "ok", ", ".join(said) or "none", facts={"models": models})


def _get(server: "Server", path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of an answer; {} for what is none."""
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_SERVER_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
        answer = connection.getresponse()
        try:
            told = json.loads(answer.read())
        except ValueError:
            told = None
        return answer.status, told if isinstance(told, dict) else {}
    finally:
        connection.close()
