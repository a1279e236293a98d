"""A sparse layer is the dense one with the paper's zeros, and computes with none of them."""

from fractions import Fraction

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.architectures import architecture
from models.language_model import LanguageModel
from models.layers.windows import windows
from nbest.errors import ConfigError


def _masked_dense_step(
    model: LanguageModel, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of layer 0 as a dense LSTM: recurrent matrix in blocks, input matrix in windows (Figure 1)."""
    config, matrices = model.config, dict(model.slots())
    hidden, width = config.cells(0), config.inputs(0)
    recurrent, inputs = torch.zeros(4, hidden, hidden), torch.zeros(4, hidden, width)
    bias = torch.zeros(4, hidden)
    vectors = dict(model.vectors())
    for name, window in zip(config.cell_names(0), config.windows(0), strict=True):
        rows = window.outputs
        recurrent[:, rows, rows] = matrices[f"{name}.recurrent"].materialize().reshape(4, window.cells, -1)
        inputs[:, rows, window.inputs] = matrices[f"{name}.input"].materialize().reshape(4, window.cells, -1)
        bias[:, rows] = vectors[f"{name}.bias"].detach().reshape(4, -1)
    i, f, g, o = (h @ recurrent[gate].t() + x @ inputs[gate].t() + bias[gate] for gate in range(4))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@pytest.mark.parametrize(("segments", "share"), [(1, 1.0), (3, 1.0), (3, 0.555), (4, 0.25), (7, 0.3)])
def test_the_composition_equals_the_masked_dense_layer(segments: int, share: float) -> None:
    torch.manual_seed(1)
    config = architecture("sparse", 30, 23, 1, segments=segments, input_shares=[share], tied=False)
    model = LanguageModel(config)
    for _, vector in model.vectors():
        torch.nn.init.normal_(vector)
    x, h, c = torch.randn(5, 23), torch.randn(5, 23), torch.randn(5, 23)
    wanted_h, wanted_c = _masked_dense_step(model, x, h, c)
    got_h, got_c = model.layers[0].step(x, h, c)  # type: ignore[operator]
    torch.testing.assert_close(got_h, wanted_h)
    torch.testing.assert_close(got_c, wanted_c)


def test_windows_cover_every_input_and_every_cell_once() -> None:
    for hidden, inputs, segments, share in [
        (1725, 1725, 3, 0.555), (1725, 400, 3, 1.0), (400, 1725, 3, 0.821), (10, 20, 3, 1 / 3),
        (9, 22, 4, 0.25),
    ]:  # fmt: skip
        found = windows(hidden, inputs, segments, share)
        assert [cell for w in found for cell in range(w.start, w.start + w.cells)] == list(range(hidden))
        assert {i for w in found for i in range(w.inputs.start, w.inputs.stop)} == set(range(inputs))
        assert found[0].input_start == 0
        assert found[-1].inputs.stop == inputs


def test_window_starts_are_the_papers() -> None:
    """n (i - gamma i) / (N - 1): 1725 inputs, gamma 0.555, three segments: 0, 383.5, 767 (width 958)."""
    found = windows(1725, 1725, 3, 0.555)
    assert [w.width for w in found] == [958, 958, 958]
    assert [w.input_start for w in found] == [0, 384, 767]
    with pytest.raises(ConfigError, match="4 windows of 2 leave some of the 9 inputs unseen"):
        windows(9, 9, 4, 0.2)


def test_parameters_and_multiply_adds_are_the_formula() -> None:
    """4N(h/N gamma i + h^2/N^2) multiply-adds a word and no more: nothing masked is multiplied."""
    config = architecture("sparse", 50, 24, 1, segments=3, input_shares=[0.5], tied=False)
    model = LanguageModel(config)
    n, h, i, gamma = 3, 24, 24, Fraction(1, 2)
    formula = 4 * n * (Fraction(h, n) * gamma * i + Fraction(h * h, n * n))
    layer = sum(p.numel() for name, p in model.layers[0].named_parameters() if "bias" not in name)
    assert layer == formula
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.layers[0].step(torch.zeros(1, 24), torch.zeros(1, 24), torch.zeros(1, 24))  # type: ignore[operator]
    assert counter.get_total_flops() == 2 * formula


def test_equal_parameters_give_the_papers_gamma() -> None:
    """Section 3.2: 1150 -> 1725 cells, three segments, gamma 0.555 in the middle layer; 24 million in all."""
    config = architecture(
        "sparse", 10_000, 1725, 3, embedding_size=400, dense_hidden_size=1150, segments=3, gate_biases=2
    )
    assert config.input_shares[1] == pytest.approx(0.555, abs=5e-4)
    assert (
        config.input_shares[0] == 1.0
    )  # 1.146 would be needed: a layer cannot see more than its whole input
    dense = architecture("lstm", 10_000, 1150, 3, embedding_size=400, tied=True, gate_biases=2)

    def middle(of: object) -> int:
        return sum(s.out_features * s.in_features for s in of.slots() if s.name.startswith("layer1"))  # type: ignore[attr-defined]

    assert middle(config) == pytest.approx(middle(dense), rel=1e-3)
    assert middle(dense) == 4 * (1150 * 1150 * 2)
