"""The words of the HTTP API: what comes in, what goes out."""

import sys
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.errors import ListFault

_LARGEST = sys.float_info.max
_NUMBER = {"type": "number", "description": "finite"}


def _values(value: object) -> tuple[float, ...]:
    """A feature: one finite number or a list of them."""
    numbers = []
    for number in value if isinstance(value, list) and value else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise PydanticCustomError("feature_value", "a feature is a finite number or a list of them")
        if not -_LARGEST <= number <= _LARGEST:  # NaN compares false; integers may be of any length
            raise PydanticCustomError("non_finite_feature", "a feature value is not finite")
        numbers.append(float(number))
    return tuple(numbers)


FeatureValues = Annotated[
    tuple[float, ...],
    PlainValidator(_values),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 1}]}),
]


Texts = Annotated[list[str], Field(fail_fast=True)]  # the first wrong entry is enough: there may be millions


class In(BaseModel):
    """What comes in: nothing unknown is taken for known, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        """One complaint for unknown fields, where pydantic alone would make one for each of a million."""
        for field in value if isinstance(value, dict) else ():
            if field not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                # In a tuple: of a bare string with a lone surrogate pydantic cannot make its message.
                raise PydanticCustomError("unknown_field", "unknown", {"field": (field,), "known": known})
        return value


class HypothesisIn(In):
    """One hypothesis as the decoder left it."""

    text: str = Field(description="tokens separated by single spaces, without <s> and </s>; may be empty")
    features: dict[str, FeatureValues] = Field(
        default_factory=dict, description="log-domain scores, natural base, larger is better"
    )


class ListIn(In):
    """One n-best list; the decoder's order matters only for ties, which the earlier one wins."""

    id: str = Field(min_length=1, description="comes back with the result; each id once in a request")
    hypotheses: list[HypothesisIn] = Field(min_length=1)
    references: list[str] | None = Field(default=None, description="not used in ranking")
    context: list[str] | None = Field(
        default=None,
        description="the texts before these, oldest first: they set the state that a model of running text "
        "starts from; a model of single sentences does not use them, and a warning says so",
    )


class InlineWeights(In):
    """Feature weights in the request itself: written by hand, or a weight set as `nbest tune` writes it."""

    features: dict[str, FeatureValues] = Field(
        min_length=1, max_length=10_000, description="weight of each feature, by name"
    )
    text: str = Field(default="raw", description="the text pipeline: what is done to a text for a model")
    format: str | None = Field(default=None, description="of a weight set: nbest-weights/1")
    models: list[dict[str, Any]] | None = Field(
        default=None, description="of a weight set: names and digests of its models, which are checked"
    )
    sparse: list[str] | None = Field(
        default=None, description="of a weight set: features that lists need not have"
    )
    tuned: bool | None = Field(default=None, description="of a weight set: whether it was tuned")
    tuning: dict[str, Any] | None = Field(default=None, description="of a weight set: how it was tuned")


def _without_null(schema: dict[str, Any]) -> None:
    """A file says what it has and leaves the rest out."""
    for field in schema["properties"].values():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) < len(field.get("anyOf", ())):
            del field["anyOf"], field["default"]
            field |= kinds[0]


class WeightsRequest(InlineWeights):
    """A weight set as `nbest tune` writes it."""

    model_config = ConfigDict(json_schema_extra=_without_null)

    format: Literal["nbest-weights/1"]


class WeightsWritten(BaseModel):
    """What a weight set's name means now."""

    request_id: str
    name: str
    version: int | None = Field(description="NAME@VERSION stays what was written; none for one put by hand")
    etag: str = Field(description="what If-Match takes to replace or delete this")
    changed: bool = Field(description="false where the same content was there already")


class Options(In):
    """What to answer with, and how strictly."""

    top_k: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="most hypotheses in a ranking; all by default"
    )
    contributions: bool = Field(default=False, description="also weight times feature, by feature")
    tokens: bool = Field(default=False, description="also each model's log-probability of every token")
    unknown_feature: Literal["error", "ignore"] = Field(
        default="error", description="what to do with a feature that the weights do not name"
    )
    deadline_seconds: FiniteFloat | None = Field(
        default=None, gt=0, description="an answer that would come later is refused (429) or given up (503)"
    )


class RescoreEnvelope(In):
    """The request around the lists, which are read one by one."""

    models: Texts = Field(
        default_factory=list, max_length=100, description="language models that score the texts"
    )
    weights: str | InlineWeights | None = Field(
        default=None,
        description="a weight set's name, or weights inline, or a whole weight set as nbest tune writes it; "
        "none: the decoder's total and the models, untuned, weighed by the spread of each list, with a "
        "warning; an error where the lists have features but no total",
    )
    text: str | None = Field(
        default=None,
        description="the text pipeline of the models, such as tags,lower; by default the weights' own",
    )
    options: Options = Field(default=Options(), description="what to answer with, and how strictly")
    lists: list[Any] = Field(min_length=1)


class RescoreRequest(RescoreEnvelope):
    """The whole request, as documented."""

    lists: list[ListIn] = Field(min_length=1, description="each is read and ranked on its own")


class TokenOut(BaseModel):
    """One scored token."""

    token: str
    nat_log_prob: float
    oov: bool


class RankedOut(BaseModel):
    """One hypothesis in its new place."""

    rank: int = Field(description="from 1")
    index: int = Field(description="place in the request, from 0")
    text: str
    score: float = Field(description="sum of weight times feature")
    features: dict[str, float | list[float]]
    contributions: dict[str, float] | None = None
    tokens: dict[str, list[TokenOut]] | None = None


class ListOut(BaseModel):
    """The answer for one list: a ranking, or what is wrong with the list."""

    id: str | None = Field(default=None, description="absent where the list had none that could be read")
    changed: bool | None = Field(default=None, description="whether another text than the first came first")
    warnings: list[str] | None = Field(default=None, description="what was ignored or assumed")
    weights: dict[str, float | list[float]] | None = Field(
        default=None, description="those that ranked this list"
    )
    ranking: list[RankedOut] | None = None
    error: ListFault | None = None


class Usage(BaseModel):
    """What the request cost."""

    hypotheses: int
    tokens: int = Field(description="over all models and hypotheses, </s> counted")
    unique_tokens: int = Field(description="the same over different texts")
    oov_count: int
    queue_seconds: float
    compute_seconds: float


class RescoreResponse(BaseModel):
    """One result per list, in the order of the request."""

    request_id: str
    signature: str
    results: list[ListOut]
    usage: Usage


class RescoreDone(BaseModel):
    """The last line of an answer in lines: without it the answer was cut on the way."""

    done: Literal[True]
    ok: int = Field(description="lists that were ranked")
    failed: int = Field(description="lists with an error")
    request_id: str
    signature: str
    usage: Usage


class ScoreRequest(In):
    """Texts to score with one model."""

    model: str = Field(description="one of /v1/models")
    texts: Texts = Field(min_length=1, description="one line each; may be empty")
    tokens: bool = Field(default=False, description="also the log-probability of every token")
    deadline_seconds: FiniteFloat | None = Field(
        default=None, gt=0, description="an answer that would come later is refused (429) or given up (503)"
    )


class ScoreOut(BaseModel):
    """One text's score; ``</s>`` is scored and counted."""

    nat_log_prob: float = Field(description="natural log-probability of the text and its </s>")
    token_count: int = Field(description="</s> counted")
    oov_count: int
    normalized: float = Field(description="nat_log_prob / token_count")
    tokens: list[TokenOut] | None = None


class ScoreResponse(BaseModel):
    """One score per text, in the order of the request."""

    request_id: str
    signature: str
    scores: list[ScoreOut]
    total_nat_log_prob: float
    perplexity: float = Field(description="exp(-total / tokens), </s> counted; the largest float if beyond")
    usage: Usage


class ModelOut(BaseModel):
    """One model the service knows."""

    name: str
    shipped: bool
    loaded: bool
    loading: bool = Field(default=False, description="whether it is about to be loaded")
    stale: bool = Field(default=False, description="whether its files have changed since it was loaded")
    digest: str | None = Field(default=None, description="over configuration, weights and vocabulary")
    system: str | None = Field(default=None, description="lstm, bllm, ...; for more see docs/models.md")
    bytes: int | None = Field(default=None, description="on disk: configuration, weights and vocabulary")
    card: dict[str, str] = Field(default_factory=dict, description="description, licence, limits")
    figures: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="what its card says was measured: perplexity, oov_rate, measured"
    )


class ModelLoaded(BaseModel):
    """The model that serves from now on."""

    request_id: str
    name: str
    digest: str
    changed: bool = Field(description="false where it was in memory already, as its files are")
    replaced: str | None = Field(default=None, description="digest of the one that served before")


class ModelsResponse(BaseModel):
    """Every model and weight set the service knows."""

    models: list[ModelOut]
    weights: list[str]


class EvaluateRequest(In):
    """One hypothesis and one or more references per segment."""

    metric: str = Field(
        min_length=1,
        max_length=100,
        description="bleu or chrf: larger is better; ter, wer or cer: smaller is better; or a sum such as "
        "bleu-0.5*ter",
    )
    hypotheses: Texts = Field(min_length=1, description="one text per segment")
    references: list[str | Annotated[Texts, Field(min_length=1)]] = Field(
        min_length=1, fail_fast=True, description="a reference, or several, per hypothesis"
    )
    tokenize: str = Field(default="none", description="BLEU: sacrebleu's tokenizer; 13a for plain text")
    lowercase: bool = Field(default=False, description="BLEU and chrF: ignore case")


class EvaluateResponse(BaseModel):
    """A corpus score with its interval."""

    request_id: str
    metric: str
    score: float
    larger_is_better: bool
    interval: tuple[float, float] = Field(description="95%, bootstrap over segments")
    counts: dict[str, int] = Field(description="summed sufficient statistics of the metric")
    segments: int
    signature: str


class Health(BaseModel):
    """Alive, ready, or why not."""

    status: Literal["alive", "ready"]
