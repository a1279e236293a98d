"""The parts of a prefix are timed for both precisions and each number of threads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models.architectures import architecture
from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.vocabulary import SPECIAL, Vocabulary

native = pytest.importorskip("nbest_native", reason="the compiled kernels are not installed: make native")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_parts_by_threads(load_benchmark: Callable[[str], Any], threads: None, precision: str) -> None:
    module = load_benchmark("scoring_parts")
    found = module.parts(LanguageModel(architecture("lstm", 300, 16, 1)), precision, [1, 2], 1)
    for part in ("step", "output"):
        assert len(found[part]) == 2
        assert all(microseconds > 0 for microseconds in found[part])
    sketched = precision == "int8" and native.has_int8()
    assert ("columns_of_the_sketch" in found) == sketched


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_lists_as_a_whole_by_threads(
    load_benchmark: Callable[[str], Any], threads: None, precision: str
) -> None:
    module = load_benchmark("scoring_parts")
    vocabulary = Vocabulary((*SPECIAL, "a", "b"))
    model = LanguageModel(architecture("lstm", len(vocabulary), 16, 1)).eval()
    loaded = Checkpoint(Path("m"), model, vocabulary, ModelCard(name="m"), "sha256:0")
    one, two = module.whole(loaded, precision, ["a b", "a a b"], [1, 2], 1)
    assert one > 0
    assert two > 0


def test_a_product_of_torch_is_timed_beside(load_benchmark: Callable[[str], Any], threads: None) -> None:
    module = load_benchmark("scoring_parts")
    one, two = module.by_threads([1, 2], 1, module.product(), 1)
    assert one > 0
    assert two > 0
