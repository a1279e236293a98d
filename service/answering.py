"""A rescoring question answered: texts of all lists scored together, each list ranked on its own."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nbest.errors import ConfigError, InputError, LimitError, shorten
from rescoring.nbest import NbestLists
from rescoring.pipeline import Ranked, ranking_signature, rescore, text_of
from rescoring.text import get_pipeline
from rescoring.weights import WeightSet
from service.batching import Answers
from service.precomputed import PrecomputedScorer
from service.registry import LoadedModel, TextScore, Token
from service.requests import within
from service.schemas import Options, Usage
from service.state import Service

T = TypeVar("T")

# A slice of ranking holds others up for so long: some 5 ms for sixteen lists, or for 2,000 hypotheses.
SLICE_LISTS, SLICE_HYPOTHESES = 16, 2000


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
        question.weights.check_models({name: model.scorer.digest for name, model in models.items()})
    for model in models.values():
        model.scores.check_wait(question.options.deadline_seconds)
    prepare = get_pipeline(question.text)
    texts = await asyncio.to_thread(lambda: [text for lists in good for text in prepare(lists.texts)])
    found = await _all([model.scores(texts) for model in models.values()])
    answers = dict(zip(models, found, strict=True))
    ranked = await _ranked(service, question, models, answers)
    tokens = await _tokens(question, models, ranked) if question.options.tokens else []
    digests = {name: model.scorer.digest for name, model in models.items()}
    signed = ranking_signature(question.weights, digests, question.weights_name, question.asked_text)
    costs = await asyncio.to_thread(
        lambda: {name: cost_of(texts, one.by_text) for name, one in answers.items()}
    )
    for name, cost in costs.items():
        service.telemetry.scored(name, cost.tokens, cost.unique_tokens)
    for one in ranked:
        if isinstance(one, InputError):
            service.telemetry.list_errors.add(one.slug)
    return Outcome(ranked, tokens, signed, _usage(len(texts), costs.values(), answers.values()))


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
    hypotheses, limit = sum(len(lists.texts) for lists in good), service.settings.max_hypotheses
    if hypotheses > limit:
        raise LimitError(
            "too many hypotheses", where="/lists", expected=f"at most {limit}", got=f"{hypotheses}"
        )


async def _ranked(
    service: Service,
    question: Question,
    models: Mapping[str, LoadedModel],
    answers: Mapping[str, Answers[TextScore]],
) -> list[Ranked | InputError]:
    """Each list ranked; in slices, for requests take turns: a small one waits for one slice, not for all."""
    scorers = [
        PrecomputedScorer(name, model.scorer.digest, answers[name].by_text) for name, model in models.items()
    ]
    sizes = [len(lists.texts) if isinstance(lists, NbestLists) else 0 for lists in question.lists]
    results: list[Ranked | InputError] = []
    for part in slices(sizes):
        results += await service.rankings.run(_rank, question, question.lists[part], scorers)
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
    question: Question, part: Sequence[NbestLists | InputError], scorers: Sequence[PrecomputedScorer]
) -> list[Ranked | InputError]:
    results: list[Ranked | InputError] = []
    for lists in part:
        if isinstance(lists, InputError):
            results.append(lists)
            continue
        try:
            unknown = question.options.unknown_feature
            results.append(
                rescore(lists, scorers, question.weights, unknown_feature=unknown, text=question.asked_text)
            )
        except InputError as error:
            results.append(error)
    return results


async def _tokens(
    question: Question, models: Mapping[str, LoadedModel], ranked: Sequence[Ranked | InputError]
) -> list[Mapping[str, Sequence[Sequence[Token]]]]:
    prepare = get_pipeline(question.text)
    shown = [
        []
        if isinstance(one, InputError)
        else prepare([one.lists.texts[row] for row in shown_rows(one, question.options.top_k)])
        for one in ranked
    ]
    texts = [text for of_list in shown for text in of_list]
    found = await _all([model.tokens(texts) for model in models.values()])
    by_model = dict(zip(models, found, strict=True))
    return [
        {name: [answers.by_text[text] for text in of_list] for name, answers in by_model.items()}
        for of_list in shown
    ]


@dataclass(frozen=True)
class Cost:
    """What texts cost one model; ``</s>`` is counted.

    unique_tokens  of the different texts
    """

    tokens: int
    unique_tokens: int
    oov_count: int


def cost_of(texts: Sequence[str], by_text: Mapping[str, TextScore]) -> Cost:
    """The cost of `texts`, of which one may stand there several times."""
    scores = [by_text[text] for text in texts]
    return Cost(
        sum(score.token_count for score in scores),
        sum(score.token_count for score in by_text.values()),
        sum(score.oov_count for score in scores),
    )


def _usage(texts: int, costs: Iterable[Cost], answers: Iterable[Answers[TextScore]]) -> Usage:
    costs, answers = list(costs), list(answers)
    return Usage(
        hypotheses=texts,
        tokens=sum(cost.tokens for cost in costs),
        unique_tokens=sum(cost.unique_tokens for cost in costs),
        oov_count=sum(cost.oov_count for cost in costs),
        queue_seconds=max((one.queue_seconds for one in answers), default=0.0),
        compute_seconds=max((one.compute_seconds for one in answers), default=0.0),
    )


async def _all(work: Sequence[Awaitable[T]]) -> list[T]:
    """Results in order; when one fails the others are cancelled, for nobody would read them."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
