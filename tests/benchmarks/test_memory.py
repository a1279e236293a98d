"""The memory benchmark counts what it says, on models made for it."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured on Linux only"
)


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("memory")


def test_growth_is_what_was_taken(benchmark: ModuleType) -> None:
    before = benchmark.anonymous_bytes()
    taken = b"x" * (20 << 20)
    assert benchmark.anonymous_bytes() - before == pytest.approx(len(taken), rel=0.05)
    del taken
    assert benchmark.anonymous_bytes() - before < 1 << 20


def test_hypotheses_share_their_beginnings(benchmark: ModuleType) -> None:
    texts = benchmark.hypotheses(tuple(f"w{n}" for n in range(50)), 250)
    assert len(texts) == 250
    assert len({text.split(" ")[0] for text in texts[:100]}) == 1
    assert len(set(texts)) > 240
    assert {len(text.split(" ")) for text in texts} == {benchmark.LENGTH}
