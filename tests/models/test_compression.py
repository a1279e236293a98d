"""Compressed models: as near to the trained one as their kind allows, and said to be what they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import checkpoint
from models.checkpoint import Checkpoint
from models.compression import (
    compress,
    derived_card,
    emptied,
    int8_plan,
    joint_low_rank,
    plan_for,
    pruning_plan,
    slim_plan,
)
from models.language_model import LanguageModel
from models.matrices.dense import DenseMatrix, DenseSpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.pruned import PrunedSpec
from models.matrices.quantized import QuantizedSpec
from models.matrices.slim import SlimMatrix, SlimSpec
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError

MakeModel = Callable[..., LanguageModel]
TEXTS = ["a man walks the dog", "the red house", "w1 w2 zebra", ""]


def _scores(model: LanguageModel, vocabulary: Vocabulary) -> Tensor:
    reference = ReferenceScorer(model, vocabulary)
    return torch.tensor([reference.score(text) for text in TEXTS])


def _kinds(model: LanguageModel) -> dict[str, str]:
    return {slot.name: slot.spec.kind for slot in model.config.slots()}


def _matrices(model: LanguageModel) -> dict[str, Tensor]:
    return {name: matrix.materialize().double() for name, matrix in model.slots()}


@pytest.mark.parametrize("spec", [QuantizedSpec(), PrunedSpec(share=0.6), LowRankSpec(rank=5)])
def test_a_plan_changes_what_it_names(
    tmp_path: Path, make_model: MakeModel, vocabulary: Vocabulary, spec: Any
) -> None:
    """And comes back from disk scoring as the slow reference says."""
    model = make_model("lstm", layers=2)
    made = compress(model, {"gates": spec, "output": spec})
    assert _kinds(made) == {
        "embedding": "dense",
        "layer0.recurrent": spec.kind,
        "layer0.input": spec.kind,
        "layer1.recurrent": spec.kind,
        "layer1.input": spec.kind,
        "output": spec.kind,
    }
    before, after = _matrices(model), _matrices(made)
    for name, kind in _kinds(made).items():
        wanted = before[name]
        if kind != "dense":
            wanted = spec.from_trained(wanted.float()).materialize().double()
            assert not torch.equal(wanted, before[name])
        assert torch.equal(after[name], wanted), name
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    loaded = checkpoint.load(tmp_path / "made")
    got = torch.from_numpy(LanguageModelScorer(loaded, "made").score(TEXTS).nat_log_probs)
    torch.testing.assert_close(got, _scores(made, vocabulary).double(), rtol=0, atol=1e-3)


def test_the_model_itself_is_left_alone(make_model: MakeModel) -> None:
    model = make_model("lstm")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for made in (compress(model, {"gates": QuantizedSpec()}), joint_low_rank(model, 5)):
        made.set_vectors({name: vector + 1 for name, vector in made.vectors()})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_without_names_every_dense_matrix_is_taken(make_model: MakeModel) -> None:
    slim = make_model("slim")
    assert set(plan_for(slim.config, QuantizedSpec())) == {"layer0.recurrent", "layer0.input"}
    kinds = {name: spec.name for name, spec in int8_plan(slim.config).items()}
    assert kinds == {
        "embedding": "slim, in bytes",
        "layer0.recurrent": "quantized",
        "layer0.input": "quantized",
        "output": "slim, in bytes",
    }
    lstm = make_model("lstm")
    assert set(plan_for(lstm.config, QuantizedSpec())) == set(_kinds(lstm))
    with pytest.raises(ConfigError, match="can become quantized; expected dense; got binary"):
        plan_for(make_model("bllm").config, QuantizedSpec())
    with pytest.raises(
        ConfigError, match=r"no matrix .* has numbers of 32 bits; expected dense or slim .* got binary"
    ):
        int8_plan(make_model("bllm").config)
    with pytest.raises(ConfigError, match=r"output: cannot become quantized; expected .* dense; got binary"):
        compress(make_model("bllm"), int8_plan(make_model("bllm").config, ["output"]))
    with pytest.raises(ConfigError, match="a matrix is named twice; got output, by output too"):
        int8_plan(lstm.config, ["output", "output"])


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (
            ["x"],
            "no such matrix; expected one of embedding, layer0.recurrent, layer0.input, output, gates; got x",
        ),
        (["gates", "layer0.input"], "a matrix is named twice; got layer0.input, by layer0.input too"),
        (["output", "output"], "a matrix is named twice; got output, by output too"),
        (["output"], "output: cannot become quantized; expected a matrix that is dense; got slim"),
    ],
)
def test_names_that_do_not_fit(make_model: MakeModel, only: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_for(make_model("slim").config, QuantizedSpec(), only)
    assert str(caught.value) == message


def test_what_cannot_be_made(make_model: MakeModel) -> None:
    model = make_model("lstm")
    with pytest.raises(ConfigError, match=r"output: cannot become dense; got dense"):
        compress(model, {"output": DenseSpec()})
    with pytest.raises(ConfigError, match="output: low rank: more than the matrix can have"):
        compress(model, {"output": LowRankSpec(rank=21)})
    twice = compress(model, {"output": QuantizedSpec()})
    with pytest.raises(ConfigError, match="pruned; expected a matrix that is dense or pruned; got quant"):
        compress(twice, {"output": PrunedSpec(share=0.5)})


def test_a_tied_matrix_is_compressed_once(make_model: MakeModel, vocabulary: Vocabulary) -> None:
    model = make_model("lstm", tied=True)
    made = compress(model, plan_for(model.config, QuantizedSpec()))
    assert _kinds(made)["embedding"] == "quantized"
    assert "output" not in _kinds(made)
    assert made.output is made.embedding
    torch.testing.assert_close(_scores(made, vocabulary), _scores(model, vocabulary), rtol=0.05, atol=0)


# Pruning


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_each_matrix_loses_its_share(make_model: MakeModel, share: float) -> None:
    model = make_model("lstm")
    made = compress(model, pruning_plan(model, share))
    for name, matrix in _matrices(made).items():
        assert int((matrix == 0).sum()) == round(share * matrix.numel()), name


def test_one_threshold_takes_the_smallest_of_all(
    make_model: MakeModel, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    model = make_model("lstm")
    with torch.no_grad():
        model.output.weight.mul_(5)  # type: ignore[operator]
    before = _matrices(model)
    made = compress(model, pruning_plan(model, 0.7, one_threshold=True))
    after = _matrices(made)
    numbers = torch.cat([matrix.flatten() for matrix in before.values()]).abs()
    kept = torch.cat([matrix.flatten() for matrix in after.values()]) != 0
    assert int((~kept).sum()) == round(0.7 * len(kept))
    assert float(numbers[kept].min()) >= float(numbers[~kept].max())
    assert float((after["output"] == 0).float().mean()) < 0.3
    assert float((after["embedding"] == 0).float().mean()) > 0.8
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    again = _matrices(checkpoint.load(tmp_path / "made").model)  # with shares of each as the file's
    assert all(torch.equal(again[name], after[name]) for name in after)


def test_one_threshold_may_empty_a_matrix(
    make_model: MakeModel, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    model = make_model("lstm")
    with torch.no_grad():
        model.embedding.weight.mul_(1e-6)  # type: ignore[operator]
    made = compress(model, pruning_plan(model, 0.6, one_threshold=True))
    assert int((made.embedding.materialize() != 0).sum()) == 0
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    loaded = checkpoint.load(tmp_path / "made")
    got = torch.from_numpy(LanguageModelScorer(loaded, "made").score(TEXTS).nat_log_probs)
    torch.testing.assert_close(got, _scores(made, vocabulary).double(), rtol=0, atol=1e-3)


def test_rows_of_which_nothing_is_left_are_told(make_model: MakeModel) -> None:
    model = make_model("lstm")
    assert emptied(compress(model, pruning_plan(model, 0.1))) == []
    with torch.no_grad():
        model.output.weight[5:8].mul_(1e-3)  # type: ignore[index]
    made = compress(model, pruning_plan(model, 0.5, ["output"]))
    assert emptied(made) == ["output: 3 of its 77 rows are empty, 770 of 1,540 numbers are left"]
    assert emptied(made.trainable()) == emptied(made)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan"), float("inf")])
def test_shares_that_are_none(make_model: MakeModel, share: float) -> None:
    with pytest.raises(ConfigError, match="share to prune out of range; expected above 0, below 1"):
        pruning_plan(make_model("lstm"), share)


def test_a_pruned_model_is_pruned_further(make_model: MakeModel) -> None:
    model = make_model("lstm")
    half = compress(model, pruning_plan(model, 0.5))
    less, once = compress(half, pruning_plan(half, 0.8)), compress(model, pruning_plan(model, 0.8))
    for (name, one), (_, other) in zip(less.slots(), once.slots(), strict=True):
        assert torch.equal(one.materialize(), other.materialize()), name


# Clusters


@pytest.mark.parametrize(
    ("system", "options"),
    [
        ("lstm", {}),
        ("lstm", {"tied": True}),
        ("bllm", {}),
        ("slim", {}),
        ("slim", {"tied": True}),
        ("projected", {"rank": 4}),
        ("sparse", {"embedding_density": 0.6}),
    ],
)
def test_word_vectors_of_any_kind_are_clustered(
    make_model: MakeModel, vocabulary: Vocabulary, tmp_path: Path, system: str, options: dict[str, Any]
) -> None:
    """And come back from disk scoring as the slow reference says."""
    model = make_model(system, **options)
    made = compress(model, slim_plan(model.config, 9, 5))
    slim = {name: matrix for name, matrix in made.slots() if isinstance(matrix, SlimMatrix)}
    assert set(slim) == ({"embedding"} if made.config.tied else {"embedding", "output"})
    assert all((one.parts, one.sub_vectors, one.by_position) == (5, 45, True) for one in slim.values())
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    loaded = checkpoint.load(tmp_path / "made")
    got = torch.from_numpy(LanguageModelScorer(loaded, "made").score(TEXTS).nat_log_probs)
    torch.testing.assert_close(got, _scores(made, vocabulary).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "spec",
    [
        SlimSpec(parts=4, sub_vectors=12, by_position=True, assignment="clusters"),
        SlimSpec(parts=4, sub_vectors=30, by_position=False, assignment="clusters"),
        SlimSpec(parts=4, sub_vectors=12, by_position=True),
        LowRankSpec(rank=5),
        PrunedSpec(share=0.7),
    ],
)
def test_what_frequent_words_lose_counts_more(make_model: MakeModel, spec: Any) -> None:
    """Only where rows are words; the least weighted squares are not the least plain ones."""
    model = make_model("lstm")
    weights = torch.logspace(0, -4, 77, dtype=torch.float64)
    is_pool = isinstance(spec, SlimSpec) and not spec.by_position
    plan = {"embedding": spec} if is_pool else {"embedding": spec, "output": spec}
    alike, by_frequency = compress(model, plan), compress(model, plan, weights)
    before, one, other = (_matrices(m) for m in (model, alike, by_frequency))
    for name in plan:
        lost, lost_by_frequency = ((before[name] - m[name]) ** 2 for m in (one, other))
        assert float(weights @ lost_by_frequency.sum(1)) < 0.9 * float(weights @ lost.sum(1)), name
        assert float(lost_by_frequency.sum()) > float(lost.sum()), name
    gates = LowRankSpec(rank=5)
    plain, weighed = (compress(model, {"gates": gates}, w) for w in (None, weights))
    for name in ("layer0.recurrent", "layer0.input"):
        assert torch.equal(_matrices(plain)[name], _matrices(weighed)[name])


def test_pruning_by_frequency_weighs_squares() -> None:
    weight = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    made = PrunedSpec(share=0.5).from_trained(weight, torch.tensor([100.0, 1.0]))
    assert made.materialize().tolist() == [[1.0, -2.0], [0.0, 0.0]]  # 100, 400 against 9, 0.25


def test_pruning_by_frequency_leaves_rare_words_something() -> None:
    """A weight of nothing is 0.03 of the mean: 0.6 times 3 squared is above 4, 0.6 times 2.5 squared not."""
    weight = torch.tensor([[1.0, 2.0], [3.0, 2.5], [0.0, 0.0]])
    made = PrunedSpec(share=2 / 3).from_trained(weight, torch.tensor([1.0, 1e-9, 59.0]))
    assert made.materialize().tolist() == [[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]]


def test_low_rank_by_frequency_is_the_best_there_is(make_model: MakeModel) -> None:
    """The weighted squares it misses are those of the tail of the weighted matrix's singular values."""
    weight, weights = torch.randn(30, 12), torch.rand(30, dtype=torch.float64) + 0.01
    missed = (weight - LowRankSpec(rank=4).from_trained(weight, weights).materialize()).double()
    tail = torch.linalg.svdvals(weight.double() * weights[:, None].sqrt())[4:]
    torch.testing.assert_close(weights @ (missed**2).sum(1), (tail**2).sum(), rtol=1e-5, atol=0)


def test_as_many_sub_vectors_as_words_change_nothing(make_model: MakeModel, vocabulary: Vocabulary) -> None:
    model = make_model("lstm", layers=2)
    made = compress(model, slim_plan(model.config, 77))
    assert {name: matrix.parts for name, matrix in made.slots() if isinstance(matrix, SlimMatrix)} == {
        "embedding": 2,
        "output": 2,  # of 10 numbers
    }
    assert torch.equal(_scores(made, vocabulary), _scores(model, vocabulary))


def test_sub_vectors_have_eight_numbers_where_that_divides(make_model: MakeModel) -> None:
    for width, parts in ((16, 2), (20, 2), (15, 3), (12, 3), (14, 7), (11, 11)):
        plan = slim_plan(make_model("lstm", embedding_size=width).config, 3, only=["embedding"])
        (spec,) = plan.values()
        assert (spec.parts, spec.sub_vectors) == (parts, 3 * parts)  # type: ignore[attr-defined]


def test_sub_vectors_that_do_not_fit(make_model: MakeModel) -> None:
    config = make_model("lstm").config
    for choices in (0, 78):
        with pytest.raises(ConfigError, match=f"expected from 1 to 77, the words there are; got {choices}"):
            slim_plan(config, choices)
    with pytest.raises(ConfigError, match="embedding: slim: the number of parts does not divide the vector"):
        compress(make_model("lstm"), slim_plan(config, 5, 3))
    with pytest.raises(ConfigError, match="a slim matrix holds word vectors"):
        compress(make_model("lstm"), slim_plan(config, 5, 4, ["gates"]))
    with pytest.raises(ConfigError, match=r"layer0.recurrent: cannot become slim; .* got tensor_train"):
        slim_plan(make_model("tensor-train", rank=2, cores=2).config, 5, 4, ["gates"])


# Joint SVD


def _stacks(model: LanguageModel) -> list[Tensor]:
    """[U_l; W_(l+1)] of each layer."""
    matrices, config = _matrices(model), model.config
    matrices["layer_end"] = matrices["embedding" if config.tied else "output"]
    following = [*(f"layer{layer}.input" for layer in range(1, config.layers)), "layer_end"]
    recurrent = [matrices[f"layer{layer}.recurrent"] for layer in range(config.layers)]
    return [torch.cat([one, matrices[name]]) for one, name in zip(recurrent, following, strict=True)]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_at_full_rank_nothing_changes(
    make_model: MakeModel, vocabulary: Vocabulary, layers: int, tied: bool
) -> None:
    model = make_model("lstm", layers=layers, tied=tied)
    made = joint_low_rank(model, 20)
    assert made.config.projection_size == 20
    torch.testing.assert_close(_scores(made, vocabulary), _scores(model, vocabulary), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rank", [1, 7, 19])
def test_each_stack_misses_the_tail_of_its_singular_values(
    make_model: MakeModel, rank: int, tied: bool
) -> None:
    """Left factors times the one right factor, the projection: no projection of this rank is nearer."""
    model = make_model("lstm", layers=2, tied=tied)
    made = joint_low_rank(model, rank)
    for layer, (whole, left) in enumerate(zip(_stacks(model), _stacks(made), strict=True)):
        projection = dict(made.slots())[f"layer{layer}.projection"].materialize().double()
        assert projection.shape == (rank, 20)
        assert left.shape == (len(whole), rank)
        tail = torch.linalg.svdvals(whole)[rank:]
        assert float((whole - left @ projection).norm()) == pytest.approx(float(tail.norm()), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 7, 19])
def test_the_embedding_is_the_best_for_the_first_layer(make_model: MakeModel, rank: int) -> None:
    model = make_model("lstm")
    made = joint_low_rank(model, rank)
    before, after = _matrices(model), _matrices(made)
    assert after["embedding"].shape == (77, rank)
    assert after["layer0.input"].shape == (80, rank)
    wanted = before["embedding"] @ before["layer0.input"].t()
    got = after["embedding"] @ after["layer0.input"].t()
    tail = torch.linalg.svdvals(wanted)[rank:]
    assert float((wanted - got).norm()) == pytest.approx(float(tail.norm()), rel=1e-4, abs=1e-5)


def test_a_tied_embedding_goes_with_the_output(make_model: MakeModel) -> None:
    model = make_model("lstm", layers=2, tied=True)
    made = joint_low_rank(model, 6)
    before, after = _matrices(model), _matrices(made)
    assert made.config.tied
    assert made.output is made.embedding
    projection = after["layer1.projection"]
    got = after["embedding"] @ after["layer0.input"].t()
    wanted = before["embedding"] @ projection.t() @ projection @ before["layer0.input"].t()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_the_embedding_may_stay(make_model: MakeModel, vocabulary: Vocabulary) -> None:
    model = make_model("lstm")
    made = joint_low_rank(model, 6, embedding=False)
    assert made.config.embedding_size == 20
    for name in ("embedding", "layer0.input"):
        assert torch.equal(_matrices(made)[name], _matrices(model)[name])
    short = make_model("lstm", embedding_size=5)
    assert joint_low_rank(short, 6).config.embedding_size == 5  # has no more than six columns


def test_a_joint_model_is_trained_further_and_comes_back(
    make_model: MakeModel, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    made = joint_low_rank(make_model("lstm", layers=2, output_bias=True), 6)
    checkpoint.save(tmp_path / "made", made, vocabulary, checkpoint.ModelCard(name="made"))
    loaded = checkpoint.load(tmp_path / "made")
    assert loaded.model.config.system == "low-rank"
    got = torch.from_numpy(LanguageModelScorer(loaded, "made").score(TEXTS).nat_log_probs)
    torch.testing.assert_close(got, _scores(made, vocabulary).double(), rtol=0, atol=1e-3)
    trainable = [matrix.trainable() for _, matrix in loaded.model.slots()]
    assert all(isinstance(matrix, DenseMatrix) and matrix.weight.requires_grad for matrix in trainable)


@pytest.mark.parametrize(
    ("system", "options", "rank", "message"),
    [
        ("slim", {}, 4, "embedding: a joint SVD needs dense matrices; expected dense; got slim"),
        ("low-rank", {"rank": 4}, 4, "plain LSTM layers; got layers that have a projection already"),
        ("sparse", {"segments": 2}, 4, "plain LSTM layers; got layers of parallel cells"),
        ("lstm", {}, 21, "rank out of range; expected from 1 to 20; got 21"),
        ("lstm", {"layers": 2, "embedding_size": 8, "tied": True}, 9, "expected from 1 to 8; got 9"),
    ],
)
def test_models_that_have_no_joint_svd(
    make_model: MakeModel, system: str, options: dict[str, Any], rank: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        joint_low_rank(make_model(system, **options), rank)


# The card


def test_the_card_says_what_was_done_to_which_model(saved: Callable[..., Checkpoint]) -> None:
    source = saved("lstm")
    source.card.perplexity["valid"] = 21.5
    source.card.training["epochs"] = 3
    card = derived_card(source, "small", {"method": "int8", "matrices": ["output"]})
    assert card.name == "small"
    assert card.perplexity == {}  # the source's are not its own
    assert card.training == {
        "epochs": 3,
        "compression": [
            {
                "source": "lstm",
                "source_digest": source.digest,
                "method": "int8",
                "matrices": ["output"],
                "source_perplexity": {"valid": 21.5},
            }
        ],
    }
    second = Checkpoint(source.path, source.model, source.vocabulary, card, "sha256:0")
    steps = derived_card(second, "smaller", {"method": "prune"}).training["compression"]
    assert [step["method"] for step in steps] == ["int8", "prune"]
    assert steps[1] == {"source": "small", "source_digest": "sha256:0", "method": "prune"}
    assert len(card.training["compression"]) == 1
