"""What goes between the service and a scoring process: texts in, scores out, all by number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nbest.errors import NbestError
from rescoring.scorer import ScoreArrays

Context = tuple[str, ...]  # the texts before a text


class Token(NamedTuple):
    """A scored word, or ``</s>``; `nat_log_prob` is natural, after what stands before it."""

    token: str
    nat_log_prob: float
    is_oov: bool


# To the process


@dataclass(frozen=True)
class OpenModel:
    """Read a model's files; it is `model` from now on."""

    model: int
    source: str


@dataclass(frozen=True)
class CloseModel:
    """Nobody will ask this model any more; what was asked is answered."""

    model: int


@dataclass(frozen=True)
class ScoreTexts:
    """Score texts; with `tokens`, tell their tokens apart instead.

    contexts  what stands before each text, where that counts
    owner     whose job it is; the jobs of one owner have one share of the process together
    """

    job: int
    model: int
    texts: Sequence[str]
    contexts: Sequence[Context] | None = None
    tokens: bool = False
    owner: str | None = None


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for this job any more."""

    job: int


Order = OpenModel | CloseModel | ScoreTexts | Cancel

# From the process


@dataclass(frozen=True)
class Started:
    """The process takes orders.

    threads  of its calculations
    """

    threads: int


@dataclass(frozen=True)
class Opened:
    """The model is in memory.

    resident_bytes  by how much memory grew while it was read
    """

    model: int
    digest: str
    takes_context: bool
    resident_bytes: int


@dataclass(frozen=True)
class Scored:
    """A job's scores, or its tokens.

    unique_tokens  next-word distributions that were computed for them
    began          time.monotonic when the process took it in work
    """

    job: int
    scores: ScoreArrays | None
    tokens: Sequence[Sequence[Token]] | None
    unique_tokens: int
    began: float


@dataclass(frozen=True)
class Failed:
    """A job, or the opening of a model, came to nothing.

    error  with words for the caller, or for the log; None for a fault, which is in the log already
    """

    number: int
    error: NbestError | OSError | None


class Step(NamedTuple):
    """What one step did for a model.

    nodes  prefixes read
    words  of the texts that it completed, ``</s>`` counted
    """

    model: int
    nodes: int
    words: int
    seconds: float


@dataclass(frozen=True)
class Steps:
    """The process is at work: its steps since it last said so."""

    steps: Sequence[Step]


Report = Started | Opened | Scored | Failed | Steps
