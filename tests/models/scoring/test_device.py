"""On a GPU nothing is mixed with the CPU, and no step waits for the device.

Tried without one on torch's meta device, whose tensors have shapes and no numbers: reading one is an error,
and every operation is looked at for tensors of two devices. (FakeTensorMode's pretended "cuda" needs a build
of torch with CUDA in it.)
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.language_model import LanguageModel
from models.scoring.engine import TorchEngine
from models.scoring.normalizer import log_normalizer

SYSTEMS: dict[str, dict[str, Any]] = {
    "lstm": {"layers": 2},
    "belm": {},
    "bllm": {},
    "slim": {},
    "hashnet": {},
    "sparse": {},
    "low-rank": {"rank": 7},
    "projected": {"rank": 7},
    "tensor-train": {"rank": 4},
}
TRANSFERS = ("aten._to_copy.default", "aten.copy_.default")


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


class OneDevice(TorchDispatchMode):
    """Refuses tensors of two devices in one operation; counts what is sent to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = {t.device.type for t in _tensors([*args, *kwargs.values()]) if t.dim()}
        if str(func) in TRANSFERS:
            self.sent += "cpu" in found
        else:
            assert len(found) < 2, f"{func} of {found}"
        return func(*args, **kwargs)


def test_the_check_sees_what_it_is_for() -> None:
    far = torch.zeros(3, 4, device="meta")
    with OneDevice() as watch:
        with pytest.raises(AssertionError, match="index_select"):
            far.index_select(0, torch.tensor([0]))
        with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
            far.sum().item()
        torch.ones(3).to("meta")
        assert watch.sent == 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_steps_and_normalisers_stay_on_the_device(
    make_model: Callable[..., LanguageModel], system: str
) -> None:
    packed = make_model(system, **SYSTEMS[system]).packed().to("meta")
    walk = TorchEngine(packed).walk()
    with torch.no_grad(), OneDevice() as watch:
        states = packed.start_state(5)
        first = walk.step(np.asarray([2, 5, 7]), np.zeros(3, dtype=np.int64), np.asarray([1, -1, 2]), states)
        hidden = walk.step(np.asarray([8, 9]), np.asarray([2, 0]), np.asarray([3, 4]), states)
        assert watch.sent == 8  # words, rows read, rows written and which they are, each step
        prepared = packed.prepare_output(hidden)
        where, ids = torch.zeros(3, dtype=torch.long).to("meta"), torch.ones(3, dtype=torch.long).to("meta")
        assert packed.pairs(prepared, where, ids).shape == (3,)
        assert log_normalizer(packed, prepared, 2, block_words=30).shape == (2,)
        assert watch.sent == 10
    assert (first.shape[0], hidden.shape[0]) == (3, 2)
    assert {part.device.type for layers in states for part in layers} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("system", ["lstm", "bllm", "slim"])
def test_a_gpu_gives_the_scores_of_the_cpu(saved: Callable[..., Any], system: str) -> None:
    from models import checkpoint
    from models.scoring.scorer import LanguageModelScorer

    loaded = saved(system)
    texts = ["a man walks the dog", "", "a woman sees it zyx", "a man"]
    here = LanguageModelScorer(loaded, "m").score(texts).nat_log_probs
    there = LanguageModelScorer(checkpoint.load(loaded.path, "cuda"), "m").score(texts).nat_log_probs
    assert there == pytest.approx(here, abs=1e-3)
