"""Every kind of matrix in every slot: it learns, comes back from disk, scores as the reference; or says no.

The table is the union of specs itself: a kind that is added is tested here, or fails for want of an example.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models import checkpoint
from models.compression import compress
from models.config import AnySpec, LanguageModelConfig
from models.language_model import LanguageModel
from models.matrices.base import MatrixSpec, Place
from models.matrices.binary import BinarySpec
from models.matrices.dense import DenseSpec
from models.matrices.frequency import FrequencySpec
from models.matrices.in_bytes import InBytesSpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.pruned import PrunedSpec
from models.matrices.quantized import QuantizedSpec
from models.matrices.slim import SlimSpec
from models.matrices.tensor_train import TensorTrainSpec
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import SPECIAL, Vocabulary
from nbest.errors import ConfigError

KINDS: dict[str, type[MatrixSpec]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(AnySpec)[0])
}
EXAMPLES: dict[str, Callable[[Place], MatrixSpec]] = {
    "dense": lambda place: DenseSpec(scale=0.3),
    "binary": lambda place: BinarySpec(scale=0.3),
    "slim": lambda place: SlimSpec(parts=2, sub_vectors=16, by_position=place == "output", scale=0.3),
    "frequency": lambda place: FrequencySpec(density=0.6, bins=3, scale=0.3),
    "low_rank": lambda place: LowRankSpec(rank=3, scale=0.3),
    "tensor_train": lambda place: TensorTrainSpec(
        rank=(3,), cores=2, blocks=4 if place == "gates" else 1, scale=0.3
    ),
    "quantized": lambda place: QuantizedSpec(),
    "pruned": lambda place: PrunedSpec(share=0.5),
    "in_bytes": lambda place: InBytesSpec(of=LowRankSpec(rank=3, scale=0.3)),
}
VOCABULARY = Vocabulary((*SPECIAL, *(f"w{k}" for k in range(15))), unseen_types=3)
STEPS = 200


def _config(**changes: Any) -> LanguageModelConfig:
    """A model with a matrix in every slot there is."""
    dense = DenseSpec(scale=0.3)
    values: dict[str, Any] = {
        "system": "lstm",
        "vocabulary_size": len(VOCABULARY),
        "embedding_size": 8,
        "hidden_size": 8,
        "projection_size": 6,
        "embedding": dense,
        "embedding_linear": dense,
        "gates": dense,
        "projection": dense,
        "output_linear": dense,
        "output": dense,
        "output_bias": True,
    }
    return LanguageModelConfig(**values | changes)


SLOTS: dict[str, Place] = {slot.name: slot.place for slot in _config().slots()}
PAIRS = [(slot, kind) for slot in SLOTS for kind in KINDS]
ALLOWED = [(slot, kind) for slot, kind in PAIRS if SLOTS[slot] not in KINDS[kind].refused]
REFUSED = [(slot, kind) for slot, kind in PAIRS if (slot, kind) not in ALLOWED]


def _sentences() -> Tensor:
    """(T, B) ids of a made-up language: each word is followed by one of two."""
    random = np.random.default_rng(1)
    ids = np.empty((7, 12), dtype=np.int64)
    ids[0] = VOCABULARY.start_id
    for t in range(1, 7):
        ids[t] = 3 + (2 * ids[t - 1] + random.integers(0, 2, 12)) % 15
    return torch.from_numpy(ids)


def _loss(model: LanguageModel, ids: Tensor) -> Tensor:
    hidden, _ = model(ids[:-1], model.start_state(ids.shape[1]))
    prepared = model.prepare_output(hidden.flatten(0, 1))
    logits = model.logits(prepared, slice(0, len(VOCABULARY)))
    return torch.nn.functional.cross_entropy(logits, ids[1:].flatten())


def _train(model: LanguageModel, steps: int) -> float:
    """The loss in the end."""
    ids = _sentences()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = _loss(model, ids)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        model.after_step()
    with torch.no_grad():
        return float(_loss(model, ids))


def _check_learns(config: LanguageModelConfig) -> LanguageModel:
    model = LanguageModel(config)
    with torch.no_grad():
        before = float(_loss(model, _sentences()))
    after = _train(model, STEPS)
    assert before > 2.4  # of ln 18 = 2.9
    assert after < 0.6 * before
    return model


def _check_compressed(slot: str, spec: MatrixSpec) -> LanguageModel:
    """A kind that is made of a trained matrix: near to it at once, or after more training."""
    model = LanguageModel(_config(overrides={slot: _made_from(spec)}))
    before = _train(model, STEPS // 2)
    made = compress(model, {slot: spec})
    with torch.no_grad():
        at_once = float(_loss(made, _sentences()))
    if spec.kind == "in_bytes":
        assert at_once == pytest.approx(before, rel=0.02)
        return made
    if spec.kind == "quantized":
        assert at_once == pytest.approx(before, rel=0.02)
        with pytest.raises(ConfigError, match="a quantized matrix cannot be trained"):
            made.trainable()
        return made
    again = made.trainable()
    zeros = dict(made.slots())[slot].materialize() == 0
    assert _train(again, STEPS // 2) < min(at_once, 1.1 * before)
    left = dict(again.slots())[slot].materialize()
    assert bool((left[zeros] == 0).all())
    assert bool((left[~zeros] != 0).all())
    return again


def _made_from(spec: MatrixSpec) -> MatrixSpec:
    return spec.of if isinstance(spec, InBytesSpec) else DenseSpec(scale=0.3)


def _check_scores(model: LanguageModel, folder: Path) -> None:
    """Written, read and scored: equal to the slow equations of the model that was written."""
    checkpoint.save(folder / "model", model, VOCABULARY, checkpoint.ModelCard(name="model"))
    loaded = checkpoint.load(folder / "model")
    assert loaded.model.config == model.config
    for (name, read), (_, written) in zip(loaded.model.slots(), model.packed().slots(), strict=True):
        assert torch.equal(read.materialize(), written.materialize()), name
    texts = ["w0 w1 w2 w4 w9", "w0 w1 w3", "", "w14 zebra w2", " ".join(f"w{k % 15}" for k in range(40))]
    scores = LanguageModelScorer(loaded, "model").score(texts)
    reference = ReferenceScorer(model, VOCABULARY)
    wanted = np.array([reference.score(text) for text in texts])
    assert (np.abs(scores.nat_log_probs - wanted) <= 1e-4 * scores.token_counts).all()


@pytest.mark.parametrize(("slot", "kind"), ALLOWED)
def test_allowed(tmp_path: Path, slot: str, kind: str) -> None:
    torch.manual_seed(1)
    spec = EXAMPLES[kind](SLOTS[slot])
    made = spec.made_from and not _is_trained(spec)
    model = _check_compressed(slot, spec) if made else _check_learns(_config(overrides={slot: spec}))
    _check_scores(model, tmp_path)


def _is_trained(spec: MatrixSpec) -> bool:
    """Whether such a matrix can be built fresh."""
    try:
        spec.build(8, 8)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("slot", "kind"), REFUSED)
def test_refused(slot: str, kind: str) -> None:
    spec, place = EXAMPLES[kind](SLOTS[slot]), SLOTS[slot]
    message = KINDS[kind].refused[place]
    assert len(message) > 20
    with pytest.raises(ConfigError) as caught:
        spec.check(place, 8, 8)
    assert str(caught.value) == message
    with pytest.raises(ValidationError) as invalid:
        _config(overrides={slot: spec})
    assert f"{slot}: {message}" in str(invalid.value)


@pytest.mark.parametrize(
    "kind", [kind for kind, spec in KINDS.items() if not {"embedding", "output"} & set(spec.refused)]
)
def test_tied(tmp_path: Path, kind: str) -> None:
    """One matrix is embedding and output."""
    torch.manual_seed(1)
    spec = EXAMPLES[kind]("output")
    tied = {"tied": True, "embedding_size": 6}
    if spec.made_from and not _is_trained(spec):
        model = LanguageModel(_config(**tied, embedding=_made_from(spec)))
        _train(model, STEPS // 2)
        model = compress(model, {"embedding": spec})
    else:
        model = _check_learns(_config(**tied, embedding=spec))
    assert model.output is model.embedding
    _check_scores(model, tmp_path)


@pytest.mark.parametrize("kind", ["quantized", "pruned", "in_bytes"])
def test_what_cannot_be_built_says_how_it_is_made(kind: str) -> None:
    spec = EXAMPLES[kind]("output")
    assert spec.made_of(_made_from(spec).build(8, 8)).materialize().shape == (8, 8)
    with pytest.raises(ConfigError, match="nbest compress --"):
        spec.build(8, 8)


@pytest.mark.parametrize("kind", [kind for kind, spec in KINDS.items() if not spec.made_from])
def test_what_is_not_made_from_a_trained_matrix_says_so(kind: str) -> None:
    with pytest.raises(ConfigError, match="such a matrix is trained, not made from a trained one"):
        EXAMPLES[kind]("output").from_trained(torch.randn(8, 8))


def test_the_table_is_whole() -> None:
    assert set(EXAMPLES) == set(KINDS)
    assert set(SLOTS.values()) == set(get_args(Place))
    assert len(ALLOWED) + len(REFUSED) == len(SLOTS) * len(KINDS)
    for kind, example in EXAMPLES.items():
        assert example("output").kind == kind
        assert set(KINDS[kind].made_from) <= set(KINDS)
        assert set(KINDS[kind].refused) < set(get_args(Place))
