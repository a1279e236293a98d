"""A rescoring question answered: texts of all lists scored together, each list ranked on its own."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, InputError, shorten
from rescoring.nbest import NbestLists
from rescoring.pipeline import Ranked, ranking_signature, rescore, text_of
from rescoring.text import get_pipeline
from rescoring.weights import WeightSet
from service.precomputed import PrecomputedScorer
from service.registry import LoadedModel
from service.request_lists import check_count, context_of
from service.requests import within
from service.schemas import Options, Usage
from service.scoring.messages import Context, Token
from service.scoring.queue import Answers
from service.state import Service
from service.together import done, together

# A slice of ranking holds others up for so long: some 5 ms for sixteen lists, or for 2,000 hypotheses.
SLICE_LISTS, SLICE_HYPOTHESES = 16, 2000
AT_ONCE_HYPOTHESES = 300  # so many are worked on where they are: a step into a thread and back costs as much
_NO_CONTEXT = "the context is not used: the model {} has learnt from single sentences"
_NO_MODEL = "the context is not used: no model scores these texts"


@dataclass(frozen=True)
class Question:
    """What is asked, whatever the body's format was."""

    models: Sequence[str]
    weights: WeightSet | None
    weights_name: str  # "inline" for weights that came with the request
    options: Options
    lists: Sequence[NbestLists | InputError]  # each list, or what is wrong with it
    asked_text: str | None = None  # a text pipeline, where the request names one

    @property
    def text(self) -> str:
        """The text pipeline that the request or its weights ask for."""
        return text_of(self.weights, self.asked_text)


@dataclass(frozen=True)
class Outcome:
    """A ranking or an error for each list, and what they cost."""

    ranked: Sequence[Ranked | InputError]
    tokens: Sequence[Mapping[str, Sequence[Sequence[Token]]]]  # list -> model -> shown hypothesis -> tokens
    signature: str
    usage: Usage


async def answer(service: Service, question: Question) -> Outcome:
    """Scores what the lists need and ranks them; raises what is wrong with the question as a whole.

    Raises NotFoundError, WeightsError, ConfigError, LimitError, BusyError, DeadlineError.
    """
    return await within(question.options.deadline_seconds, _answer(service, question))


async def _answer(service: Service, question: Question) -> Outcome:
    good = [lists for lists in question.lists if isinstance(lists, NbestLists)]
    _check_limits(service, question, good)
    models = {name: await service.registry.get(name) for name in question.models}
    if question.weights is not None:
        question.weights.check_models({name: model.digest for name, model in models.items()})
    wanted = await done(_few(good), lambda: _wanted(good, question.text))
    deadline = question.options.deadline_seconds
    asked = (
        model.queue.scores(
            wanted.texts, wanted.contexts if model.takes_context else None, deadline_seconds=deadline
        )
        for model in models.values()
    )
    answers = dict(zip(models, await together(*asked), strict=True))
    ranked = await _ranked(service, question, models, wanted, answers)
    tokens = await _tokens(question, models, ranked) if question.options.tokens else []
    digests = {name: model.digest for name, model in models.items()}
    signed = ranking_signature(question.weights, digests, question.weights_name, question.asked_text)
    usage = _usage(wanted, answers)
    for name, found in answers.items():
        asked_tokens = int(found.scores.token_counts @ wanted.repeats)
        service.telemetry.scored(name, asked_tokens, found.unique_tokens)
    for one in ranked:
        if isinstance(one, InputError):
            service.telemetry.list_errors.add(one.slug)
    return Outcome(ranked, tokens, signed, usage)


@dataclass(frozen=True)
class _Wanted:
    """The different texts of each good list, one list after the other.

    texts     (N,) as the models are to see them
    repeats   (N,) how often each stands in its list
    offsets   (lists + 1,)
    contexts  (N,) what stands before each; None where no list has a context
    """

    texts: list[str]
    repeats: NDArray[np.int64]
    offsets: list[int]
    contexts: list[Context] | None


def _wanted(good: Sequence[NbestLists], pipeline: str) -> _Wanted:
    prepare = get_pipeline(pipeline)
    counted = [Counter(prepare(lists.texts)) for lists in good]
    contexts = [tuple(prepare(context_of(lists))) for lists in good]
    return _Wanted(
        [text for one in counted for text in one],
        np.array([count for one in counted for count in one.values()], dtype=np.int64),
        [0, *accumulate(len(one) for one in counted)],
        [context for one, context in zip(counted, contexts, strict=True) for _ in one]
        if any(contexts)
        else None,
    )


def _few(good: Sequence[NbestLists]) -> bool:
    """Whether working on them holds nobody up."""
    return len(good) <= SLICE_LISTS and sum(len(lists.texts) for lists in good) <= AT_ONCE_HYPOTHESES


def shown_rows(ranked: Ranked, top_k: int | None) -> list[int]:
    """Rows of a single ranked list that the answer shows, best first."""
    rows: list[int] = ranked.order[:top_k].tolist()
    return rows


def _check_limits(service: Service, question: Question, good: Sequence[NbestLists]) -> None:
    for name, count in Counter(question.models).most_common(1):
        if count > 1:
            raise ConfigError(
                f"a model is named {count} times", where="/models", expected="each once", got=shorten(name)
            )
    hypotheses = sum(len(lists.texts) for lists in good)
    check_count("hypotheses", "/lists", hypotheses, service.settings.max_hypotheses)


async def _ranked(
    service: Service,
    question: Question,
    models: Mapping[str, LoadedModel],
    wanted: _Wanted,
    answers: Mapping[str, Answers],
) -> list[Ranked | InputError]:
    """Each list ranked; in slices, for requests take turns: a small one waits for one slice, not for all."""
    parts = iter([slice(start, stop) for start, stop in pairwise(wanted.offsets)])
    without = tuple(_NO_CONTEXT.format(name) for name, model in models.items() if not model.takes_context)
    work: list[tuple[NbestLists | InputError, list[PrecomputedScorer], tuple[str, ...]]] = []
    for lists in question.lists:
        if isinstance(lists, InputError):
            work.append((lists, [], ()))
            continue
        part = next(parts)
        scorers = [
            PrecomputedScorer(name, model.digest, answers[name].scores, part)
            for name, model in models.items()
        ]
        work.append((lists, scorers, (without if models else (_NO_MODEL,)) if context_of(lists) else ()))
    if _few([lists for lists in question.lists if isinstance(lists, NbestLists)]):
        return _rank(question, work)
    sizes = [len(lists.texts) if isinstance(lists, NbestLists) else 0 for lists in question.lists]
    results: list[Ranked | InputError] = []
    for some in slices(sizes):
        results += await service.rankings.run(_rank, question, work[some])
    return results


def slices(sizes: Sequence[int]) -> Iterator[slice]:
    """Lists of so many hypotheses each, cut into runs of at most SLICE_LISTS and SLICE_HYPOTHESES.

    A list is never cut: one that is larger is a run of its own.

    >>> [(part.start, part.stop) for part in slices([1] * 20 + [5000, 1])]
    [(0, 16), (16, 20), (20, 21), (21, 22)]
    """
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == SLICE_LISTS or total + size > SLICE_HYPOTHESES):
            yield slice(start, place)
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def _rank(
    question: Question,
    work: Sequence[tuple[NbestLists | InputError, Sequence[PrecomputedScorer], tuple[str, ...]]],
) -> list[Ranked | InputError]:
    unknown = question.options.unknown_feature
    results: list[Ranked | InputError] = []
    for lists, scorers, warnings in work:
        if isinstance(lists, InputError):
            results.append(lists)
            continue
        try:
            found = rescore(
                lists, scorers, question.weights, unknown_feature=unknown, text=question.asked_text
            )
        except InputError as error:
            results.append(error)
        else:
            results.append(replace(found, warnings=warnings + found.warnings))
    return results


async def _tokens(
    question: Question, models: Mapping[str, LoadedModel], ranked: Sequence[Ranked | InputError]
) -> list[Mapping[str, Sequence[Sequence[Token]]]]:
    prepare = get_pipeline(question.text)
    texts: list[str] = []
    contexts: list[Context] = []
    parts: list[slice] = []
    for one in ranked:
        start = len(texts)
        if not isinstance(one, InputError):
            rows = shown_rows(one, question.options.top_k)
            texts += prepare([one.lists.texts[row] for row in rows])
            contexts += [tuple(prepare(context_of(one.lists)))] * len(rows)
        parts.append(slice(start, len(texts)))
    found = await together(
        *(model.queue.tokens(texts, contexts if model.takes_context else None) for model in models.values())
    )
    by_model = dict(zip(models, found, strict=True))
    return [{name: tokens[part] for name, tokens in by_model.items()} for part in parts]


def _usage(wanted: _Wanted, answers: Mapping[str, Answers]) -> Usage:
    found = answers.values()
    return Usage(
        hypotheses=int(wanted.repeats.sum()),
        tokens=sum(int(one.scores.token_counts @ wanted.repeats) for one in found),
        unique_tokens=sum(one.unique_tokens for one in found),
        oov_count=sum(int(one.scores.oov_counts @ wanted.repeats) for one in found),
        queue_seconds=max((one.queue_seconds for one in found), default=0.0),
        compute_seconds=max((one.compute_seconds for one in found), default=0.0),
    )
