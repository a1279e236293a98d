"""A run's folder: the last state, whole; the best weights; the log. Taken up again, it is the same run."""

import csv
import fcntl
import io
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from models.training.log_plot import plot_log
from nbest.errors import ConfigError, ModelFileError, shorten
from nbest.files import write_whole, write_whole_directory

_LAST, _STATE, _TENSORS, _BEST = "last", "state.json", "state.safetensors", "best.safetensors"
_LOCK = "lock"
LOG, PLOT = "log.csv", "log.svg"


@dataclass
class Progress:
    """Where a run is; everything that is not a tensor.

    epoch_nats, epoch_tokens   summed training loss of the running epoch, and over how many tokens
    best                       lowest validation perplexity
    start                      validation perplexity of the model that the run starts from, where there is one
    ended                      whether the averaged weights got no further
    log                        one row an epoch
    """

    epoch: int = 0
    batches_done: int = 0
    epoch_nats: float = 0.0
    epoch_tokens: int = 0
    rate: float = 0.0
    bad_epochs: int = 0
    best: float = math.inf
    seconds: float = 0.0
    start: float | None = None
    ended: bool = False
    log: list[dict[str, Any]] = field(default_factory=list)


class SavedRun:
    """A run's folder; `identity` makes it this run and no other: recipe, digests of texts and models."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Replace the last state, whole or not at all."""
        values = asdict(progress) | {"best": None if math.isinf(progress.best) else progress.best}
        self.folder.mkdir(parents=True, exist_ok=True)
        with write_whole_directory(self.folder / _LAST, replaces=(_STATE, _TENSORS)) as fresh:
            (fresh / _TENSORS).write_bytes(_packed(tensors))
            (fresh / _STATE).write_text(json.dumps({**self.identity, "progress": values}), encoding="utf-8")
        for name, content in log_files(progress, self.folder.stem).items():
            with write_whole(self.folder / name) as stream:
                stream.write(content)

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The last state, or None where there is none.

        Raises ConfigError where the folder is another run's, ModelFileError where it is broken.
        """
        last = self.folder / _LAST
        if not (last / _STATE).is_file():
            return None
        try:
            document = json.loads((last / _STATE).read_text(encoding="utf-8"))
            tensors = load_file(last / _TENSORS)
            values = dict(document["progress"])
            values["best"] = math.inf if values["best"] is None else values["best"]
            progress = Progress(**values)
            _check(progress)
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise self.broken(error) from None
        for part, mine in self.identity.items():
            if document.get(part) != mine:
                expected, got = _different(document.get(part), mine)
                raise ConfigError(
                    f"{self.folder} is a run with another {part}: remove it to start afresh, "
                    "or give the options it was started with",
                    expected=expected,
                    got=got,
                )
        return progress, tensors

    def broken(self, error: Exception) -> ModelFileError:
        """What is said of a state that nothing can go on from."""
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = "what this program wrote there; remove it to start afresh"
        return ModelFileError("broken training state", where=str(self.folder), expected=advice, got=said)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps others out meanwhile; raises ConfigError where one is at work."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    "another training is at work here", where=str(self.folder), expected="another --out"
                ) from None
            yield

    def save_best(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the best weights."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with write_whole(self.folder / _BEST) as stream:
            stream.write(_packed(weights))

    def load_best(self, model: nn.Module) -> None:
        """Give a model the best weights."""
        try:
            model.load_state_dict(load_file(self.folder / _BEST), strict=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise self.broken(error) from None

    def remove(self) -> None:
        """The run is over."""
        shutil.rmtree(self.folder)


def log_files(progress: Progress, name: str) -> dict[str, bytes]:
    """The log as CSV, a row an epoch, and as a picture; by file name."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in progress.log for name in row))  # a loss that changes has two
    writer = csv.DictWriter(text, columns or ["epoch"])
    writer.writeheader()
    writer.writerows(progress.log)
    return {LOG: text.getvalue().encode(), PLOT: plot_log(progress.log, name).encode()}


def _check(progress: Progress) -> None:
    """Raises TypeError or ValueError where a number is none, or below zero."""
    for one in fields(Progress):
        value, example = getattr(progress, one.name), one.default
        if isinstance(example, int | float) and not isinstance(example, bool):
            if isinstance(value, bool) or not isinstance(
                value, int if isinstance(example, int) else int | float
            ):
                raise TypeError(f"{one.name} is {value!r}")
            if value < 0:
                raise ValueError(f"{one.name} is {value!r}")
    if not all(isinstance(row, dict) for row in progress.log):
        raise TypeError("a row of the log is none")


def _different(theirs: Any, mine: Any) -> tuple[str, str]:
    """Both in words: of mappings, only what differs."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        names = [name for name in mine | theirs if theirs.get(name) != mine.get(name)]
        theirs, mine = ({name: side.get(name) for name in names} for side in (theirs, mine))
    expected, got = (shorten(str(side), 300).strip("'\"") for side in (theirs, mine))
    return expected, got


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
