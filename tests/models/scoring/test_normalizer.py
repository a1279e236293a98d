"""The blocked normaliser against torch's logsumexp."""

from collections.abc import Callable

import pytest
import torch

from models.language_model import LanguageModel
from models.scoring.normalizer import log_normalizer


@pytest.mark.parametrize("block", [1, 7, 76, 77, 1000])
@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "slim"])
@pytest.mark.parametrize("factor", [1.0, 300.0])
def test_equals_logsumexp(
    make_model: Callable[..., LanguageModel], system: str, block: int, factor: float
) -> None:
    model = make_model(system).packed()
    hidden = factor * torch.randn(5, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        prepared = model.prepare_output(hidden)
        wanted = (model.before_output(hidden) @ model.output.materialize().t()).logsumexp(1)
        torch.testing.assert_close(log_normalizer(model, prepared, 5, block), wanted, rtol=1e-5, atol=1e-4)
