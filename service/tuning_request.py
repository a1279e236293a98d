"""A request to tune: its words, and what is asked for once lists, names and limits are checked."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat

from nbest.errors import (
    ConfigError,
    FeatureError,
    InputError,
    NotFoundError,
    ReferenceMismatchError,
    shorten,
)
from nbest.signature import signature
from rescoring import pipeline
from rescoring.features import check_name, oov_name
from rescoring.formats.references import check_words
from rescoring.metrics import Metric, get_metric
from rescoring.nbest import NbestLists
from rescoring.text import DEFAULT_PIPELINE, get_pipeline
from rescoring.tuning.constraints import Constraints, constrained
from rescoring.weights import WeightSet
from service.errors import InvalidRequestError, ListFault
from service.optimizers import Grid, Settings
from service.request_lists import RequestList, check_count, check_text
from service.schemas import HypothesisIn, In, InlineWeights, Texts
from service.tuning import Floats, Plan, columns_only, start

MOST_RESTARTS = 200
_MOST_POINTS = 10_000  # of a grid
_LMWT = [float(weight) for weight in range(7, 18)]
# CER aligns characters in a table of 2 bits a pair, 64 MB for two such texts; TER takes time instead.
_LONGEST_BYTES, _LONGEST_TER_BYTES = 16 * 1024, 4 * 1024
Range = Annotated[list[FiniteFloat | None], Field(min_length=2, max_length=2)]
Values = Annotated[list[FiniteFloat], Field(min_length=1, max_length=1000, fail_fast=True)]


class TuneEnvelope(In):
    """The request around the lists; the words are those of `nbest tune`."""

    models: Texts = Field(
        default_factory=list, max_length=100, description="language models that score the texts"
    )
    metric: str = Field(
        default="bleu",
        min_length=1,
        max_length=100,
        description="what is made best: bleu, chrf, ter, wer, cer, or a sum such as bleu-0.5*ter",
    )
    tokenize: str = Field(default="none", description="BLEU: sacrebleu's tokenizer; 13a for plain text")
    lowercase: bool = Field(default=False, description="BLEU and chrF: ignore case")
    text: str | None = Field(default=None, description="the text pipeline of the models, such as tags,lower")
    features: Texts | None = Field(
        default=None, min_length=1, description="those of the lists that take part; all by default"
    )
    initial: str | InlineWeights | None = Field(
        default=None, description="where to start: a weight set's name, or weights inline; else all ones"
    )
    fix: dict[str, FiniteFloat] = Field(
        default_factory=dict, max_length=10_000, description="weights that stay as they are"
    )
    range: dict[str, Range] = Field(
        default_factory=dict,
        max_length=10_000,
        description="lowest and highest value of a weight; null: no bound",
    )
    group: list[Texts] = Field(
        default_factory=list, max_length=1000, description="weights that keep their ratios"
    )
    optimizer: Literal["mert", "risk", "mira", "grid", "choose"] = Field(
        default="mert",
        description="mert: exact line searches; risk: the expected metric, stable; mira: batch MIRA; grid: "
        "Kaldi's; choose: the best of all but the grid on held-out folds",
    )
    l2: FiniteFloat | None = Field(default=None, ge=0, description="mert and risk: penalty on large weights")
    folds: int = Field(default=5, ge=2, le=20, description="of choose")
    restarts: int = Field(default=20, ge=1, le=MOST_RESTARTS, description="descents of mert")
    seed: int = Field(default=1, ge=0, le=2**31 - 1, description="of random starts and directions")
    acoustic: str = Field(default="ac", description="grid: the acoustic feature")
    lmwt: Values = Field(default=_LMWT, description="grid: LM weights")
    wip: Values = Field(default=[0.0, 0.5, 1.0], description="grid: word insertion penalties")
    mix: Texts | None = Field(
        default=None, min_length=2, max_length=2, description="grid: two language models that share a weight"
    )
    held_out: int = Field(
        default=0,
        ge=0,
        description="so many of the last lists are not tuned on: the weights' score there is told as well",
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        description="save the weights under this name, as PUT /v1/weights/NAME does, If-Match included",
    )
    lists: list[Any] = Field(min_length=1)


class TuneListIn(In):
    """One n-best list with its references."""

    id: str = Field(min_length=1, description="each id once in a request")
    hypotheses: list[HypothesisIn] = Field(min_length=1)
    references: list[str] = Field(min_length=1, description="what should have come out; WER takes one")
    context: list[str] | None = Field(default=None, description="not used")


class TuneRequest(TuneEnvelope):
    """The whole request, as documented."""

    lists: list[TuneListIn] = Field(min_length=1, description="each hypothesis of all with the same features")


class TuneProgress(BaseModel):
    """A line on the way; what it says besides depends on the stage."""

    progress: dict[str, Any] = Field(
        description="stage: scoring, waiting, counting, counted, choosing or tuning; done and of; best so far"
    )


class TuneFailed(BaseModel):
    """The last line where something went wrong on the way."""

    done: Literal[False] = False
    request_id: str
    error: ListFault


class HeldOutTold(BaseModel):
    """What the weights do on lists that they were not tuned on."""

    lists: int
    before: float
    after: float
    interval: tuple[float, float] = Field(description="of the change: 95%, bootstrap over lists")
    p_value: float = Field(description="of the change: two-sided, approximate randomisation")


class SavedTold(BaseModel):
    """Where the weights are, or why they could not be saved."""

    name: str
    version: int | None = None
    etag: str | None = None
    error: ListFault | None = None


class TuneDone(BaseModel):
    """The last line of an answer."""

    done: Literal[True] = True
    request_id: str
    weights: dict[str, Any] = Field(description="a weight set, as nbest tune writes it")
    metric: str
    larger_is_better: bool
    before: float = Field(description="score of the first hypotheses of the lists")
    after: float = Field(description="score under these weights, on the lists that were tuned on")
    initial: float = Field(description="score under the weights that were the start")
    oracle: float = Field(description="the best that any choice from these lists can reach")
    oracle_exact: bool = Field(description="false: there may be a better choice than the one found")
    lists: int = Field(description="those that were tuned on")
    held_out: HeldOutTold | None = None
    candidates: dict[str, float] | None = Field(
        default=None, description="of choose: scores on held-out folds"
    )
    table: str | None = Field(default=None, description="of grid: every point, as Kaldi prints it")
    saved: SavedTold | None = None
    warnings: list[str]


@dataclass(frozen=True)
class Asked:
    """A request whose lists and names are in order.

    lists     all that came, without what models add
    measured  the metric
    text      the text pipeline of the models
    """

    request: TuneEnvelope
    lists: NbestLists
    measured: Metric
    text: str
    plan: Plan

    @property
    def tuned_on(self) -> NbestLists:
        """The lists that are not held out."""
        return self.lists.select(range(len(self.lists) - self.request.held_out))

    @property
    def signature(self) -> str:
        """Beside every number, as `nbest tune` signs it."""
        return f"{signature({})}|{self.measured.signature_for(self.tuned_on.references)}"


def read(request: TuneEnvelope, lists: Sequence[RequestList], max_text_bytes: int) -> Asked:
    """The request with its lists as one; raises what is wrong with it, or with any list.

    A list that is left out would make another number of it all.
    """
    _check_options(request, len(lists))
    try:
        measured = get_metric(request.metric, request.tokenize, request.lowercase)
    except NotFoundError as error:  # of a request, not of what the service has
        raise InvalidRequestError(
            error.message, where="/metric", expected=error.expected, got=error.got
        ) from None
    text = get_pipeline(request.text or DEFAULT_PIPELINE).name
    found = _joined(lists)
    longest = min(max_text_bytes, _LONGEST_TER_BYTES if "ter" in request.metric else _LONGEST_BYTES)
    for position, one in enumerate(lists):
        _check_texts(one, f"/lists/{position}", longest)
    check_words([one for several in found.references for one in several], "/lists")
    measured.counts((), np.zeros(0, dtype=np.int64), found.references)  # as many references as it takes
    if request.features is not None:
        found = pipeline.only_features(found, request.features)
    for name, count in Counter(request.models).most_common(1):
        if count > 1:
            raise ConfigError(
                f"a model is named {count} times", where="/models", expected="each once", got=shorten(name)
            )
    for model in request.models:
        for name in (model, oov_name(model)):
            check_name(found, name)
    ends = {name: (_end(low, -1), _end(high, 1)) for name, (low, high) in request.range.items()}
    mix = None if request.mix is None else (request.mix[0], request.mix[1])
    plan = Plan(
        Settings(request.optimizer, request.restarts, request.seed, request.l2, 1),
        Constraints(request.fix, ends, request.group),
        Grid(request.acoustic, tuple(request.lmwt), tuple(request.wip), mix),
        request.folds,
    )
    return Asked(request, found, measured, text, plan)


def first_of(asked: Asked, initial: WeightSet | None) -> Floats:
    """(F,) where to start, with the models' columns; raises for a weight or a rule of an unknown column."""
    named = [_Named(name) for name in asked.request.models]
    schema = pipeline.tunable_schema(pipeline.full_schema(asked.lists, named))
    first = start(initial, schema, "/initial")
    constrained(columns_only(schema, "/lists"), first, asked.plan.rules)
    return first


@dataclass(frozen=True)
class _Named:
    """A model that has only its name to be known by here."""

    name: str
    digest: str = ""


def _check_options(request: TuneEnvelope, lists: int) -> None:
    """Raises ConfigError for options that do not go together, or not with so many lists."""
    rules = request.fix or request.range or request.group or request.l2
    if request.optimizer == "grid" and rules:
        raise ConfigError(
            "the grid has its own rules", where="/optimizer", expected="no fix, range, group, l2"
        )
    if request.mix is not None and (request.optimizer != "grid" or request.mix[0] == request.mix[1]):
        raise ConfigError("not a mixture", where="/mix", expected="two models, with the optimizer grid")
    if request.optimizer == "mira" and request.l2 is not None:
        raise ConfigError("batch MIRA knows no penalty", where="/l2", expected="mert or risk")
    points = len(request.lmwt) * len(request.wip)
    check_count("points", "/lmwt", points, _MOST_POINTS)
    if request.held_out >= lists:
        raise ConfigError(
            "no list is left to tune on",
            where="/held_out",
            expected=f"less than {lists}, as there are lists",
            got=f"{request.held_out}",
        )
    if request.optimizer == "choose" and request.folds > lists - request.held_out:
        raise ConfigError(
            "more folds than lists",
            where="/folds",
            expected=f"at most {lists - request.held_out}",
            got=f"{request.folds}",
        )


def _joined(lists: Sequence[RequestList]) -> NbestLists:
    """The lists as one, with the columns in the order of the first."""
    parts: list[NbestLists] = []
    for position, one in enumerate(lists):
        content = one.content
        if isinstance(content, InputError):
            raise content
        if not content.references:
            raise ReferenceMismatchError(
                "a list without references", where=f"/lists/{position}", expected="references", got="none"
            )
        names = [feature.name for feature in (parts or [content])[0].schema]
        own = {feature.name: feature.width for feature in content.schema}
        if own.keys() != set(names) or any(
            own[one.name] != one.width for one in (parts or [content])[0].schema
        ):
            raise FeatureError(
                "other features than the first list",
                where=f"/lists/{position}/hypotheses/0/features",
                expected=", ".join(names) or "none",
                got=", ".join(own) or "none",
            )
        parts.append(pipeline.only_features(content, names))
    return NbestLists(
        ids=tuple(one.ids[0] for one in parts),
        offsets=np.concatenate([[0], np.cumsum([len(one.texts) for one in parts])]).astype(np.int64),
        texts=tuple(text for one in parts for text in one.texts),
        schema=parts[0].schema,
        features=np.concatenate([one.features for one in parts]),
        references=tuple(one.references[0] for one in parts),
        source="/lists",
    )


def _check_texts(one: RequestList, at: str, longest: int) -> None:
    assert isinstance(one.content, NbestLists)
    for row, text in enumerate(one.content.texts):
        check_text(text, f"{at}/hypotheses/{row}/text", longest)
    for number, text in enumerate(one.content.references[0]):
        check_text(text, f"{at}/references/{number}", longest)


def _end(bound: float | None, sign: int) -> float:
    return sign * math.inf if bound is None else bound
