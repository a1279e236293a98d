"""What is sent and what comes back, as frozen dataclasses in the words of the API.

Log-probabilities are natural logarithms, larger is better. Unknown fields of an answer are passed over: a
newer service may say more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FeatureValue = float | Sequence[float]


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis as the decoder left it; features are log-domain scores, natural base."""

    text: str
    features: Mapping[str, FeatureValue] = field(default_factory=dict)


@dataclass(frozen=True)
class NbestList:
    """One n-best list; of equal scores the earlier hypothesis wins.

    context  the segments before it, for models that have learnt from running text
    """

    id: str
    hypotheses: Sequence[Hypothesis]
    context: Sequence[str] = ()


@dataclass(frozen=True)
class Token:
    """One scored token, ``</s>`` too."""

    token: str
    nat_log_prob: float
    oov: bool


@dataclass(frozen=True)
class RankedHypothesis:
    """One hypothesis in its new place.

    rank           from 1
    index          its place in the list that was sent, from 0
    score          sum of weight times feature
    contributions  weight times feature, by feature; None unless asked for
    tokens         each model's tokens; None unless asked for
    """

    rank: int
    index: int
    text: str
    score: float
    features: Mapping[str, float | tuple[float, ...]]
    contributions: Mapping[str, float] | None = None
    tokens: Mapping[str, tuple[Token, ...]] | None = None


@dataclass(frozen=True)
class Ranking:
    """A list's answer, best first; `signature` is what made its numbers.

    changed  whether another text than the first of the list is the best now
    weights  those that ranked
    """

    id: str
    changed: bool
    warnings: tuple[str, ...]
    weights: Mapping[str, float | tuple[float, ...]]
    ranking: tuple[RankedHypothesis, ...]
    signature: str

    @property
    def best(self) -> RankedHypothesis:
        """The first."""
        return self.ranking[0]


@dataclass(frozen=True)
class ListError:
    """What is wrong with one list; `pointer` is into the request that held it."""

    type: str
    detail: str
    pointer: str | None = None
    expected: str | None = None
    got: str | None = None


@dataclass(frozen=True)
class FailedList:
    """A list that could not be ranked; its id is None where none could be read."""

    id: str | None
    error: ListError


ListResult = Ranking | FailedList


@dataclass(frozen=True)
class Usage:
    """What a request cost; tokens over all models, ``</s>`` counted, unique_tokens over different texts."""

    hypotheses: int
    tokens: int
    unique_tokens: int
    oov_count: int
    queue_seconds: float
    compute_seconds: float


@dataclass(frozen=True)
class Rescored:
    """One result per list, in the order they were sent."""

    results: tuple[ListResult, ...]
    signature: str
    usage: Usage
    request_id: str


@dataclass(frozen=True)
class RescoredText:
    """Lists in the format they were sent in, best first."""

    text: str
    signature: str
    warnings: str | None


@dataclass(frozen=True)
class TextScore:
    """One text's score; ``</s>`` is scored and counted. `normalized` is nat_log_prob / token_count."""

    nat_log_prob: float
    token_count: int
    oov_count: int
    normalized: float
    tokens: tuple[Token, ...] | None = None


@dataclass(frozen=True)
class Scored:
    """One score per text, in the order they were sent."""

    scores: tuple[TextScore, ...]
    total_nat_log_prob: float
    perplexity: float
    signature: str
    usage: Usage
    request_id: str


@dataclass(frozen=True)
class Evaluation:
    """A corpus score; `interval` is 95%, bootstrap over segments."""

    metric: str
    score: float
    larger_is_better: bool
    interval: tuple[float, float]
    counts: Mapping[str, int]
    segments: int
    signature: str
    request_id: str


@dataclass(frozen=True)
class Converted:
    """Lists in the shape that `rescore` and `tune` take; `format` is what they came in."""

    format: str
    warnings: tuple[str, ...]
    lists: tuple[Mapping[str, Any], ...]
    request_id: str


@dataclass(frozen=True)
class Tuned:
    """Weights that make the best hypotheses win.

    weights   a weight set, as `nbest tune` writes it
    before    the metric's score of the first hypotheses; `after` of those that the weights choose, on the
              lists that were tuned on
    document  everything that the service told, `held_out` and `saved` among it
    """

    weights: Mapping[str, Any]
    metric: str
    larger_is_better: bool
    before: float
    after: float
    warnings: tuple[str, ...]
    request_id: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A model the service knows, loaded or not; `stale`: its files have changed since it was loaded."""

    name: str
    shipped: bool
    loaded: bool
    loading: bool
    stale: bool
    digest: str | None
    system: str | None
    bytes: int | None
    card: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Models:
    """Every model, and every weight set by name."""

    models: tuple[Model, ...]
    weights: tuple[str, ...]


@dataclass(frozen=True)
class ModelLoaded:
    """The model that serves from now on; `replaced` is the digest of the one before."""

    name: str
    digest: str
    changed: bool
    replaced: str | None
    request_id: str


@dataclass(frozen=True)
class StoredWeights:
    """A weight set as it stands; `etag` is what replaces or deletes it.

    location  the path of its version, where it has one
    """

    name: str
    document: Mapping[str, Any]
    etag: str
    location: str | None


@dataclass(frozen=True)
class WeightsWritten:
    """What a weight set's name means now; `changed` is False where the same content was there already."""

    name: str
    version: int | None
    etag: str
    changed: bool
    request_id: str
