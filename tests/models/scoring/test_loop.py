"""A scoring loop: many callers, each with his own answer; cancelled, failed and closed."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest
from torch import Tensor

from models.checkpoint import Checkpoint
from models.layers.lstm import State
from models.scoring.engine import Ids, TorchEngine, TorchWalk
from models.scoring.loop import ScoringLoop
from models.scoring.scorer import LanguageModelScorer

Save = Callable[..., Checkpoint]
TEXTS = [f"a man walks {'the dog ' * (n % 4)}and w{n}" for n in range(30)]


class Gated(TorchEngine):
    """An engine whose steps wait for a gate, and fail where told to."""

    def __init__(self, engine: TorchEngine) -> None:
        super().__init__(engine.model)
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.fails = False

    def walk(self) -> TorchWalk:
        return GatedWalk(self)


class GatedWalk(TorchWalk):
    def __init__(self, engine: Gated) -> None:
        super().__init__(engine.model, None)
        self.engine = engine

    def step(self, words: Ids, above: Ids, kept: Ids, states: State) -> Tensor:
        self.engine.reached.set()
        assert self.engine.gate.wait(60)
        if self.engine.fails:
            raise RuntimeError("broken")
        return super().step(words, above, kept, states)


@pytest.fixture
def scorer(saved: Save) -> LanguageModelScorer:
    made = LanguageModelScorer(saved("lstm"), "m", native=False, batch=4)
    assert isinstance(made.engine, TorchEngine)
    made.engine = Gated(made.engine)
    return made


@pytest.fixture
def gated(scorer: LanguageModelScorer) -> Gated:
    assert isinstance(scorer.engine, Gated)
    return scorer.engine


@pytest.fixture
def loop(scorer: LanguageModelScorer, gated: Gated) -> Iterator[ScoringLoop]:
    made = ScoringLoop()
    yield made
    gated.gate.set()
    made.close()


def test_every_caller_gets_what_he_would_get_alone(scorer: LanguageModelScorer, loop: ScoringLoop) -> None:
    parts = [TEXTS[n::5] for n in range(5)]
    scores = [loop.submit(scorer, scorer.score_task(part)) for part in parts]
    tokens = loop.submit(scorer, scorer.token_task(TEXTS[:3]))
    for part, future in zip(parts, scores, strict=True):
        alone = scorer.score(part)
        got = future.result(60)
        assert got.nat_log_probs == pytest.approx(alone.nat_log_probs, abs=1e-4)
        assert got.token_counts.tolist() == alone.token_counts.tolist()
        assert got.unique_tokens == alone.unique_tokens
    for found, expected in zip(tokens.result(60), scorer.score_tokens(TEXTS[:3]), strict=True):
        assert [one.token for one in found] == [one.token for one in expected]
        assert [one.nat_log_prob for one in found] == pytest.approx(
            [one.nat_log_prob for one in expected], abs=1e-4
        )
    assert loop.submit(scorer, scorer.score_task([])).result(60).nat_log_probs.tolist() == []


def test_a_cancelled_task_leaves_and_others_stay(
    scorer: LanguageModelScorer, gated: Gated, loop: ScoringLoop
) -> None:
    gated.gate.clear()
    leaving = loop.submit(scorer, scorer.score_task(TEXTS))
    assert gated.reached.wait(60)
    staying = loop.submit(scorer, scorer.score_task(TEXTS[:4]))
    assert leaving.cancel()
    gated.gate.set()
    assert staying.result(60).nat_log_probs == pytest.approx(scorer.score(TEXTS[:4]).nat_log_probs, abs=1e-4)
    with pytest.raises(CancelledError):
        leaving.result(60)


def test_a_step_that_fails_is_told_and_the_loop_goes_on(
    scorer: LanguageModelScorer, gated: Gated, loop: ScoringLoop
) -> None:
    gated.fails = True
    with pytest.raises(RuntimeError, match="broken"):
        loop.submit(scorer, scorer.score_task(TEXTS)).result(60)
    gated.fails = False
    assert len(loop.submit(scorer, scorer.score_task(TEXTS)).result(60).nat_log_probs) == 30


def test_closing_finishes_what_was_submitted(scorer: LanguageModelScorer) -> None:
    loop = ScoringLoop()
    futures = [loop.submit(scorer, scorer.score_task(TEXTS[n::3])) for n in range(3)]
    loop.close()
    assert all(future.done() for future in futures)
    assert sum(len(future.result().nat_log_probs) for future in futures) == 30
    with pytest.raises(RuntimeError, match="closed"):
        loop.submit(scorer, scorer.score_task(TEXTS))
