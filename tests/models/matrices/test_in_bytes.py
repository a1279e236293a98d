"""Matrices whose numbers lie in a file in bytes: near what they were made of, and the same ever after."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import checkpoint
from models.compression import compress, int8_plan
from models.info import parts_of_model
from models.language_model import LanguageModel
from models.matrices.base import MatrixSpec
from models.matrices.in_bytes import InBytesSpec
from models.matrices.pruned import PrunedSpec
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from models.training.initialization import start_from
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError, ModelFileError

MakeModel = Callable[..., LanguageModel]
TEXTS = ["a man walks the dog", "the red house", "w1 w2 zebra", ""]
MAKES: dict[str, dict[str, object]] = {
    "slim": {"ratio": 0.3},
    "hashnet": {},
    "slim tied": {"tied": True, "ratio": 0.3},
    "sparse": {"embedding_density": 0.6, "embedding_size": 18},
    "projected": {"rank": 5},
    "tensor-train": {"rank": 4},
    "lstm pruned": {},
}


@pytest.fixture(params=MAKES)
def model(request: pytest.FixtureRequest, make_model: MakeModel) -> LanguageModel:
    """One with matrices of each make."""
    system, _, pruned = request.param.partition(" ")
    made = make_model(system, **MAKES[request.param])
    spec = PrunedSpec(share=0.4)
    return compress(made, {"gates": spec, "output": spec}) if pruned == "pruned" else made


def test_numbers_move_by_half_a_step_at_most(model: LanguageModel) -> None:
    made = compress(model, int8_plan(model.config))
    moved = 0
    for slot, (name, matrix) in zip(made.config.slots(), made.slots(), strict=True):
        if not isinstance(slot.spec, InBytesSpec):
            continue
        before = dict(model.slots())[name].packed().stored()
        for part, tensor in matrix.stored().items():
            if not tensor.is_floating_point():
                assert torch.equal(tensor, before[part])
                continue
            step = float(before[part].max() - before[part].min()) / 255
            difference = (tensor - before[part]).abs().max()
            assert 0 < float(difference) <= step * 0.501
            moved += 1
    assert moved


def test_the_same_after_every_round_trip(
    tmp_path: Path, model: LanguageModel, vocabulary: Vocabulary
) -> None:
    made = compress(model, int8_plan(model.config))
    card = checkpoint.ModelCard(name="made")
    checkpoint.save(tmp_path / "made", made, vocabulary, card)
    loaded = checkpoint.load(tmp_path / "made")
    checkpoint.save(tmp_path / "again", loaded.model, vocabulary, card)
    again = checkpoint.load(tmp_path / "again")
    assert again.digest == loaded.digest
    for (name, matrix), (_, other) in zip(made.slots(), loaded.model.slots(), strict=True):
        assert torch.equal(matrix.materialize(), other.materialize()), name
    scores = LanguageModelScorer(loaded, "made").score(TEXTS).nat_log_probs
    reference = ReferenceScorer(made, vocabulary)
    assert scores == pytest.approx([reference.score(text) for text in TEXTS], abs=1e-3)


def test_bytes_are_those_of_the_file(tmp_path: Path, model: LanguageModel, vocabulary: Vocabulary) -> None:
    made = compress(model, int8_plan(model.config))
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    stored = load_file(tmp_path / "made" / checkpoint.WEIGHTS)
    parts = parts_of_model(made)
    for part in parts:
        own = [
            tensor for name, tensor in stored.items() if name.startswith(f"{part.name}.") or name == part.name
        ]
        found = sum(tensor.numel() * tensor.element_size() for tensor in own)
        assert found == -int(-(part.paper_bytes + part.extra_bytes) // 1), part.name
    old = {part.name: part for part in parts_of_model(model)}
    for part in parts:
        if part.kind.endswith("in bytes"):
            assert part.parameters == old[part.name].parameters
            assert part.paper_bytes == old[part.name].paper_bytes / 4


def test_what_is_in_bytes_is_not_trained(
    tmp_path: Path, make_model: MakeModel, vocabulary: Vocabulary
) -> None:
    model = make_model("slim")
    made = compress(model, int8_plan(model.config, ["embedding"]))
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    source = checkpoint.load(tmp_path / "made")
    for config in (made.config, model.config):
        with pytest.raises(ConfigError, match="made: embedding: a matrix in bytes cannot be trained"):
            start_from(source, config)
    with pytest.raises(ConfigError, match="a matrix in bytes is not trained"):
        LanguageModel(made.config)


def test_bytes_of_bytes_and_of_bits_are_refused(make_model: MakeModel) -> None:
    model = make_model("projected", rank=5)
    made = compress(model, int8_plan(model.config))
    with pytest.raises(ConfigError, match="no matrix of the model has numbers of 32 bits"):
        int8_plan(made.config)
    other = InBytesSpec.model_validate({"of": {"kind": "low_rank", "rank": 3}})
    with pytest.raises(ConfigError, match=r"embedding: bytes of another matrix; expected .*'rank': 5"):
        compress(model, {"embedding": other})
    with pytest.raises(ConfigError, match=r"embedding: cannot become slim; .* got in_bytes"):
        compress(made, {"embedding": make_model("slim").config.embedding})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"embedding.left.range": torch.tensor([1.0, 0.0])}, "'left.range' is upside down"),
        (
            lambda t: t | {"embedding.left.range": torch.tensor([0.0, torch.inf])},
            "'left.range' .* not finite",
        ),
        (lambda t: {k: v for k, v in t.items() if k != "embedding.left.range"}, "'left.range' is missing"),
        (lambda t: {k: v for k, v in t.items() if k != "embedding.left.codes"}, "'left.codes' is missing"),
        (lambda t: t | {"embedding.left.codes": t["embedding.left.codes"][1:]}, "'left' does not fit"),
        (
            lambda t: t | {"embedding.left.codes": t["embedding.left.codes"].float()},
            "'left.codes' does not fit",
        ),
        (lambda t: t | {"embedding.left": torch.zeros(3)}, "embedding: .*'left' is there twice"),
        (lambda t: t | {"embedding.more.range": torch.zeros(2)}, "embedding: .*'more.codes' is missing"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path,
    make_model: MakeModel,
    vocabulary: Vocabulary,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    message: str,
) -> None:
    model = make_model("projected", rank=5)
    made = compress(model, int8_plan(model.config))
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    weights = tmp_path / "made" / checkpoint.WEIGHTS
    save_file(change(load_file(weights)), weights)
    with pytest.raises(
        ModelFileError, match=rf"model.safetensors: embedding: .*{message.rpartition(': ')[2]}"
    ):
        checkpoint.load(tmp_path / "made")


def test_equal_numbers_stay_what_they_are(make_model: MakeModel) -> None:
    model = make_model("projected", rank=1)
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.fill_(0.1)
    made = compress(model, int8_plan(model.config))
    assert torch.equal(made.output.materialize(), model.output.materialize())


def test_the_make_says_where_it_may_stand(make_model: MakeModel) -> None:
    pool: MatrixSpec = make_model("slim").config.embedding
    spec = InBytesSpec.model_validate({"of": pool})
    with pytest.raises(ConfigError, match="a slim output is assigned by position"):
        spec.check("output", 80, 20)
    assert spec.name == "slim, in bytes"
