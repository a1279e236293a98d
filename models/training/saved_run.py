"""A run's folder: the last state, whole; the best weights; the log. Taken up again, it is the same run."""

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from models.invalid import first_fault
from models.training.log_plot import plot_log
from nbest.errors import ConfigError, ModelFileError, shorten
from nbest.files import write_whole, write_whole_directory
from nbest.locked import at_work

_LAST, _STATE, _TENSORS, _BEST = "last", "state.json", "state.safetensors", "best.safetensors"
LOG, PLOT = "log.csv", "log.svg"

_Count = Annotated[int, Field(ge=0, strict=True)]
_Number = Annotated[float, Field(ge=0, strict=True)]


@dataclass
class Progress:
    """Where a run is; everything that is not a tensor.

    epoch_nats, epoch_tokens   summed training loss of the running epoch, and over how many tokens
    best                       lowest validation perplexity
    start                      validation perplexity of the model that the run starts from, where there is one
    ended                      whether the averaged weights got no further
    log                        one row an epoch
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    epoch: _Count = 0
    batches_done: _Count = 0
    epoch_nats: _Number = 0.0
    epoch_tokens: _Count = 0
    rate: _Number = 0.0
    bad_epochs: _Count = 0
    best: _Number = math.inf
    seconds: _Number = 0.0
    start: _Number | None = None
    ended: StrictBool = False
    log: list[dict[str, Any]] = field(default_factory=list)


_PROGRESS = TypeAdapter(Progress)


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
            progress = _PROGRESS.validate_python(values)
        except ValidationError as error:
            raise self.broken(ValueError(f"progress.{first_fault(error)}")) from None
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
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        busy = ConfigError(
            "another training is at work here", where=str(self.folder), expected="another --out"
        )
        with at_work(self.folder, busy):
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


def _different(theirs: Any, mine: Any) -> tuple[str, str]:
    """Both in words: of mappings, only what differs."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        names = [name for name in mine | theirs if theirs.get(name) != mine.get(name)]
        theirs, mine = ({name: side.get(name) for name in names} for side in (theirs, mine))
    expected, got = (shorten(str(side), 300).strip("'\"") for side in (theirs, mine))
    return expected, got


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
