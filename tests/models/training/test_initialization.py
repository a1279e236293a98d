"""Starting from a trained model: what is taken, what is made from it, what is fresh, what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.architectures import architecture
from models.checkpoint import Checkpoint, ModelCard
from models.config import LanguageModelConfig
from models.language_model import LanguageModel
from models.matrices.binary import BinaryMatrix
from models.matrices.slim import SlimMatrix
from models.training.initialization import start_from
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError

Save = Callable[..., Checkpoint]
V = 77


def _config(system: str, hidden_size: int = 20, layers: int = 1, **options: object) -> LanguageModelConfig:
    return architecture(system, V, hidden_size, layers, **options)


def _same(mine: LanguageModel, theirs: LanguageModel, names: set[str]) -> None:
    own, source = dict(mine.slots()), dict(theirs.slots())
    for name in names:
        assert torch.equal(own[name].materialize(), source[name].materialize()), name


@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "slim", "hashnet", "low-rank"])
def test_the_same_system_starts_as_it_was(saved: Save, system: str) -> None:
    source = saved(system)
    model, notes = start_from(source, source.model.config)
    assert notes == []
    _same(model, source.model, {name for name, _ in model.slots()})
    for (name, mine), (other, theirs) in zip(model.vectors(), source.model.vectors(), strict=True):
        assert name == other
        assert torch.equal(mine, theirs)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_training_does_not_change_the_source(saved: Save) -> None:
    source = saved("lstm")
    before = {name: matrix.materialize() for name, matrix in source.model.slots()}
    model, _ = start_from(source, source.model.config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    for name, matrix in source.model.slots():
        assert torch.equal(matrix.materialize(), before[name])


def test_binary_embeddings_start_from_dense_ones(saved: Save) -> None:
    """Table 5 of the binarized paper: the signs and magnitudes of trained embeddings, clamped to one."""
    source = saved("lstm")
    model, notes = start_from(source, _config("bllm", input_linear=False, scale="mean"))
    dense = dict(source.model.slots())["embedding"].materialize()
    embedding = dict(model.slots())["embedding"]
    assert isinstance(embedding, BinaryMatrix)
    assert torch.equal(embedding.weight.detach(), dense.clamp(-1, 1))
    expected = torch.where(dense > 0, 1.0, -1.0) * dense.clamp(-1, 1).abs().mean()
    torch.testing.assert_close(embedding.materialize(), expected)
    assert "embedding: made from what is, dense there and binary here" in notes
    assert f"output_linear: fresh, {source.path} has none" in notes
    assert f"layer0.gamma: fresh, {source.path} has none of this length" in notes
    assert not any(note.startswith("layer0.bias") for note in notes)


def test_other_kinds_are_made_from_trained_ones_or_fresh(saved: Save) -> None:
    source = saved("lstm")
    low_rank = {"overrides": {"output": {"kind": "low_rank", "rank": 20}}}
    model, notes = start_from(source, _config("lstm", **low_rank))
    assert notes == ["output: made from what is, dense there and low_rank here"]
    torch.testing.assert_close(
        dict(model.slots())["output"].materialize(), dict(source.model.slots())["output"].materialize()
    )
    model, notes = start_from(source, _config("slim"))
    assert notes == [
        "embedding: made from what is, dense there and slim here",
        "output: made from what is, dense there and slim here",
    ]
    model, notes = start_from(source, _config("tensor-train", rank=2, cores=2))
    assert notes == [
        f"layer0.{name}: fresh, dense there and tensor_train here" for name in ("recurrent", "input")
    ]
    _same(model, source.model, {"embedding", "output"})


@pytest.mark.parametrize("assignment", ["clusters", "balanced"])
def test_a_slim_model_starts_from_a_dense_one_and_keeps_its_codes(
    saved: Save, tmp_path: Path, vocabulary: Vocabulary, assignment: str
) -> None:
    source = saved("lstm")
    model, _ = start_from(source, _config("slim", parts=5, ratio=0.2, assignment=assignment))
    _same(model, source.model, {"layer0.recurrent", "layer0.input"})
    codes = {name: matrix.codes.tolist() for name, matrix in model.slots() if isinstance(matrix, SlimMatrix)}
    assert set(codes) == {"embedding", "output"}
    checkpoint.save(tmp_path / "slim", model, vocabulary, ModelCard(name="slim"))
    again, notes = start_from(checkpoint.load(tmp_path / "slim"), model.config)
    assert notes == []
    own = dict(again.slots())
    assert all(own[name].codes.tolist() == wanted for name, wanted in codes.items())


def test_more_layers(saved: Save) -> None:
    source = saved("lstm")
    model, notes = start_from(source, _config("lstm", layers=2))
    assert [note.partition(":")[0] for note in notes] == ["layer1.recurrent", "layer1.input", "layer1.bias"]
    _same(model, source.model, {"embedding", "output", "layer0.recurrent", "layer0.input"})


def test_a_pruned_model_keeps_its_zeros(saved: Save, tmp_path: Path, vocabulary: Vocabulary) -> None:
    pruned = {"overrides": {"output": {"kind": "pruned", "share": 0.8}}}
    model, notes = start_from(saved("lstm"), _config("lstm", **pruned))
    assert notes == ["output: made from what is, dense there and pruned here"]
    checkpoint.save(tmp_path / "pruned", model, vocabulary, ModelCard(name="pruned"))
    again, notes = start_from(checkpoint.load(tmp_path / "pruned"), model.config)
    assert notes == []
    weight = dict(again.slots())["output"].materialize()
    assert float((weight == 0).float().mean()) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("system", "options", "message"),
    [
        ("lstm", {"hidden_size": 24}, r"embedding: a matrix of another shape .* 77 x 24.*; got 77 x 20"),
        ("slim", {"ratio": 0.3}, r"embedding: a matrix stored in another way .*'sub_vectors': 231"),
        ("bllm", {"scale": "mean"}, r"embedding: a matrix stored in another way .*'scale': 'mean'"),
    ],
)
def test_what_cannot_be_started_from(
    saved: Save, system: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        start_from(saved(system), _config(system, **options))


def test_a_quantized_matrix_cannot_be_trained(saved: Save, tmp_path: Path, vocabulary: Vocabulary) -> None:
    source = saved("lstm")
    config = _config("lstm", overrides={"output": {"kind": "quantized"}})
    own = dict(source.model.slots())
    made = LanguageModel(
        config,
        lambda slot: (
            slot.spec.from_trained(own[slot.name].materialize()) if slot.name == "output" else own[slot.name]
        ),
    )
    checkpoint.save(tmp_path / "quantized", made, vocabulary, ModelCard(name="quantized"))
    with pytest.raises(ConfigError, match="a quantized matrix cannot be trained"):
        start_from(checkpoint.load(tmp_path / "quantized"), config)
