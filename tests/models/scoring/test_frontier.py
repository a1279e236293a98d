"""Works advance together and get what each would get alone; they come, go and run short of memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from models.checkpoint import Checkpoint
from models.layers.lstm import State
from models.scoring.climb import Group, GroupScores
from models.scoring.engine import Engine, Ids, TorchEngine, TorchWalk
from models.scoring.frontier import Frontier
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import Sequences
from nbest.errors import ScoringCancelledError

Save = Callable[..., Checkpoint]
START_ID, END_ID = 2, 0


class Collected:
    """A work's sums by member, and in which step each group came."""

    def __init__(self) -> None:
        self.sums: dict[int, float] = {}

    def __call__(self, scores: GroupScores) -> None:
        self.sums.update(zip(scores.members.tolist(), scores.sums().tolist(), strict=True))


def groups(*sequences: Sequence[Sequence[int]]) -> Iterator[Group]:
    first = 0
    for several in sequences:
        yield Group(np.arange(first, first + len(several)), Sequences.of(several))
        first += len(several)


def frontier(engine: Engine, **changes: int) -> Frontier:
    limits = {"most_rows": 10_000, **changes}
    return Frontier(engine, start_id=START_ID, end_id=END_ID, **limits)


def alone(engine: Engine, sequences: Sequence[Sequence[int]]) -> list[float]:
    one, got = frontier(engine), Collected()
    one.add(groups(sequences), got)
    run(one)
    return [got.sums[member] for member in range(len(sequences))]


def run(one: Frontier) -> int:
    steps = 0
    while not one.is_idle:
        one.step()
        steps += 1
    return steps


def some(seed: int, count: int, longest: int = 9) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(3, 9, random.integers(0, longest)).tolist() for _ in range(count)]


@pytest.fixture
def engine(saved: Save) -> TorchEngine:
    return TorchEngine(saved("lstm", layers=2).model)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 12), st.integers(0, 5)), max_size=6), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_each_work_gets_what_it_would_get_alone(
    engine: TorchEngine, works: list[tuple[int, int, int]], data: Any
) -> None:
    one = frontier(
        engine, batch=data.draw(st.integers(1, 9)), most_rows=data.draw(st.sampled_from([2, 20, 500]))
    )
    one._pending.most_rows = data.draw(st.integers(1, 12))
    found = []
    for seed, count, joins_after in works:
        for _ in range(joins_after):
            if not one.is_idle:
                one.step()
        several = [some(seed, count), some(seed + 1, count)]
        found.append((several, Collected()))
        one.add(groups(*several), found[-1][1])
    run(one)
    for several, got in found:
        flat = [sequence for sequences in several for sequence in sequences]
        assert [got.sums[n] for n in range(len(flat))] == pytest.approx(alone(engine, flat), abs=1e-4)
    assert one._pool.reserved == 0  # everything was given back
    assert one._pool.in_use == 0


def test_a_short_work_is_done_after_its_own_steps_beside_a_long_one(engine: TorchEngine) -> None:
    one, long, short = frontier(engine, batch=32), Collected(), Collected()
    one.add(groups([[3 + n % 5 for n in range(400)]], some(1, 300)), long)
    for _ in range(20):
        one.step()
    one.add(groups(some(2, 10)), short)
    steps = 0
    while len(short.sums) < 10:
        one.step()
        steps += 1
    assert steps <= 9 + 2 * 2  # a level a step, half of each batch being its own
    assert 0 not in long.sums
    run(one)
    assert long.sums[0] == pytest.approx(alone(engine, [[3 + n % 5 for n in range(400)]])[0], abs=1e-3)


def test_a_work_that_leaves_gets_nothing_more_and_its_rows_go_to_others(engine: TorchEngine) -> None:
    one, gone, stays = frontier(engine, batch=8), Collected(), Collected()
    leaving = one.add(groups(some(1, 50), some(2, 50)), gone)
    one.add(groups(some(3, 20)), stays)
    one.step()
    one.step()
    one.drop(leaving)
    had = len(gone.sums)
    run(one)
    assert len(gone.sums) == had < 100
    assert [stays.sums[n] for n in range(20)] == pytest.approx(alone(engine, some(3, 20)), abs=1e-4)
    assert one._pool.reserved == 0
    assert one._pool.in_use == 0


def test_states_held_stay_within_the_rows(engine: TorchEngine) -> None:
    one, got = frontier(engine, most_rows=60, batch=16), Collected()
    several = [some(seed, 15) for seed in range(20)]
    one.add(groups(*several), got)
    while not one.is_idle:
        one.step()
        assert one._pool.reserved <= 60
        assert one._pool.in_use <= 60
    assert len(got.sums) == 300


class Starved(TorchEngine):
    """An engine with memory for so many words a step, and so many outputs."""

    def __init__(self, engine: TorchEngine, words: int, outputs: int, error: Exception) -> None:
        super().__init__(engine.model)
        self.words, self.outputs, self.error = words, outputs, error

    def walk(self) -> TorchWalk:
        return StarvedWalk(self)


class StarvedWalk(TorchWalk):
    def __init__(self, engine: Starved) -> None:
        super().__init__(engine.model, None)
        self.engine = engine

    def step(self, words: Ids, above: Ids, kept: Ids, states: State) -> Tensor:
        if len(words) > self.engine.words:
            raise self.engine.error
        return super().step(words, above, kept, states)

    def log_probs(self, hidden: Tensor, positions: Ids, ids: Ids) -> NDArray[np.float64]:
        if len(hidden) > self.engine.outputs:
            raise self.engine.error
        return super().log_probs(hidden, positions, ids)


OUT_OF_MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes. Error code 12"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_takes_smaller_steps_and_says_so(
    engine: TorchEngine, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    one, got = frontier(Starved(engine, 5, 3, error)), Collected()
    one.add(groups(some(1, 60)), got)
    with caplog.at_level(logging.WARNING, "nbest.scoring"):
        run(one)
    assert [got.sums[n] for n in range(60)] == pytest.approx(alone(engine, some(1, 60)), abs=1e-4)
    assert one.batch <= 5
    assert one._pending.most_rows <= 3
    assert "out of memory with" in caplog.text
    assert "prefixes a step" in caplog.text
    assert "outputs at a time" in caplog.text


def test_memory_for_nothing_and_other_errors_are_raised(engine: TorchEngine) -> None:
    for error in (MemoryError(), RuntimeError("another")):
        one = frontier(Starved(engine, 0, 0, error))
        one.add(groups(some(1, 5)), Collected())
        with pytest.raises(type(error)):
            run(one)


def test_scoring_is_cancelled_between_steps(saved: Save) -> None:
    scorer = LanguageModelScorer(saved("lstm"), "m", batch=4)
    asked = iter([False, False, True])
    with pytest.raises(ScoringCancelledError):
        scorer.score(["a man walks the dog"] * 3, cancelled=lambda: next(asked))


def test_outputs_that_are_held_are_looked_at_only_when_they_are_due(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a long text would cost the square of its words."""
    one, got = frontier(engine), Collected()
    one._pending.most_rows = 10_000
    calls: list[int] = []
    compute = one._pending.compute
    monkeypatch.setattr(one._pending, "compute", lambda *given: calls.append(1) or compute(*given))
    one.add(groups([[3 + n % 5 for n in range(300)]]), got)
    assert run(one) >= 300
    assert len(calls) == 1


def test_the_works_of_one_owner_have_one_share_together(engine: TorchEngine) -> None:
    """One caller with nine works beside one with a single work: the single one gets half of each step."""
    many = [[[(m >> 4) % 7 + 3, (m >> 2) % 4 + 3, m % 4 + 3, 4, 5, 6] for m in range(112)] for _ in range(9)]

    def steps_of_the_single_one(owner: str | None) -> int:
        one = frontier(engine, batch=8)
        for sequences in many:
            one.add(groups(sequences), Collected(), owner)
        got = Collected()
        single = one.add(groups([[k % 7 + 3, k // 7 % 7 + 3, 5] for k in range(40)]), got, "other")
        steps = 0
        while single not in one.step():
            steps += 1
        assert len(got.sums) == 40
        run(one)
        return steps

    assert steps_of_the_single_one("many") < 0.75 * steps_of_the_single_one(None)
