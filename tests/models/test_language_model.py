"""The model's parts agree: fused loop and single steps, training form and packed; bad options are named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from models import checkpoint
from models.architectures import architecture
from models.config import LanguageModelConfig
from models.dropout import Dropout
from models.language_model import LanguageModel
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError

POOL = {"kind": "slim", "parts": 2, "sub_vectors": 4, "by_position": False}
SYSTEMS: dict[str, dict[str, object]] = {
    "lstm": {},
    "lstm tied": {"tied": True, "embedding_size": 12},
    "lstm two biases": {"gate_biases": 2, "output_bias": True},
    "belm": {},
    "belm no-io": {"input_linear": False, "output_linear": False, "scale": "mean"},
    "bllm": {},
    "slim": {},
    "slim tied": {"tied": True, "ratio": 0.3},
    "slim input": {"output_ratio": 1.0},
    "hashnet": {},
    "sparse": {"segments": 3, "input_shares": (1.0, 0.5)},
    "sparse density": {"segments": 2, "embedding_density": 0.4, "tied": True},
    "low-rank": {"rank": 6},
    "projected": {"rank": 5},
    "tensor-train": {"rank": 2, "cores": 2},
}  # a system's name, with what is special about it, and its options


@pytest.fixture(params=SYSTEMS)
def model(request: pytest.FixtureRequest, make_model: Callable[..., LanguageModel]) -> LanguageModel:
    """Two layers of each system."""
    return make_model(request.param.split(" ")[0], layers=2, **SYSTEMS[request.param])


def test_training_loop_equals_single_steps(model: LanguageModel) -> None:
    ids = torch.randint(0, 77, (9, 4), generator=torch.Generator().manual_seed(1))  # (T, B)
    outputs, last = model(ids, model.start_state(4))
    packed = model.packed()
    state = packed.start_state(4)
    for t in range(9):
        hidden, state = packed.step(ids[t], state)
        torch.testing.assert_close(hidden, outputs[t], rtol=1e-4, atol=1e-5)
    for wanted, got in zip((*last.hidden, *last.cell), (*state.hidden, *state.cell), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(model: LanguageModel) -> None:
    hidden, _ = model(torch.arange(77)[:, None], model.start_state(1))
    prepared = model.prepare_output(hidden[:, 0])
    model.logits(prepared, slice(0, 77)).log_softmax(1).diagonal().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_scores_equal_the_reference(model: LanguageModel, vocabulary: Vocabulary, tmp_path: Path) -> None:
    """Through disk: what the papers' equations say in float64, one word at a time."""
    checkpoint.save(tmp_path / "model", model, vocabulary, checkpoint.ModelCard(name="model"))
    loaded = checkpoint.load(tmp_path / "model")
    texts = ["a man walks in the street .", "a dog", "", "the red zebra and the dog"]
    reference = ReferenceScorer(model.packed(), vocabulary)
    wanted = [reference.score(text) for text in texts]
    got = LanguageModelScorer(loaded, "model").score(texts).nat_log_probs
    assert got.tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-4)


def test_packing_leaves_the_training_form_trainable(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model("bllm")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    packed = model.packed()
    packed.set_vectors({name: vector + 1 for name, vector in packed.vectors()})
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def _zeros(x: torch.Tensor) -> float:
    return float((x == 0).float().mean())


def test_dropout_drops_a_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(40, 5, 60)  # (T, B, I)
    for variational in (False, True):
        dropped = Dropout(variational=variational).drop(x, 0.25)
        assert _zeros(dropped) == pytest.approx(0.25, abs=0.05)
        assert float(dropped.mean()) == pytest.approx(1.0, abs=0.07)
        assert torch.equal(dropped[0], dropped[1]) is variational
    assert Dropout().drop(x, 0.0) is x


def test_a_dropped_word_is_zero_wherever_it_stands() -> None:
    torch.manual_seed(0)
    ids = torch.arange(200).repeat(2)[:, None]  # every word twice
    dropped = Dropout(words=0.5).drop_words(torch.ones(400, 1, 3), ids, 200)
    assert torch.equal(dropped[:200], dropped[200:])
    assert 0.3 < _zeros(dropped) < 0.7
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("place", ["words", "inputs", "hidden", "recurrent"])
def test_every_place_of_dropout_changes_the_outputs(
    make_model: Callable[..., LanguageModel], place: str
) -> None:
    model = make_model("lstm", layers=2).train()
    ids = torch.arange(15).reshape(5, 3)
    whole, _ = model(ids, model.start_state(3))
    torch.manual_seed(0)
    dropped, _ = model(ids, model.start_state(3), Dropout(**{place: 0.5}))
    assert not torch.allclose(dropped, whole)
    again, _ = model(ids, model.start_state(3))
    assert torch.equal(again, whole)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("gru", 10, 8), {}, "unknown system; expected one of lstm, .*; got 'gru'"),
        (
            ("lstm", 10, 8),
            {"parts": 2},
            "no such option of the system lstm; expected one of embedding_size, gate_biases, .*; got 'parts'",
        ),
        (("hashnet", 10, 8), {"parts": 2}, "no such option of the system hashnet; .*; got 'parts'"),
        (("slim", 10, 8), {"parts": 3}, "the number of parts does not divide"),
        (
            ("slim", 10, 8),
            {"ratio": 0},
            "option ratio of the system slim: Input should be greater than 0; got 0",
        ),
        (("lstm", 0, 8), {}, "greater than or equal to 1"),
        (("bllm", 10, 8), {"input_linear": "False"}, "option input_linear .* valid boolean; got 'False'"),
        (("projected", 10, 8), {"rank": True}, "option rank .* valid integer; got True"),
        (("belm", 10, 8), {"scale": "median"}, "option scale .* valid number; got 'median'"),
        (("sparse", 10, 8), {"dense_hidden_size": 1 << 20}, "option dense_hidden_size .* equal to 65536"),
        (("sparse", 10, 8), {"input_shares": [0.5, 2]}, "option input_shares .* equal to 1; got 2"),
        (("tensor-train", 10, 8), {"cores": 17}, "option cores .* equal to 16; got 17"),
        (("lstm", 10, 8), {"overrides": {"output": {"kind": "sparce"}}}, "option overrides .*sparce"),
        (
            ("slim", 10, 8),
            {"tied": True, "overrides": {"embedding": POOL}},
            "tied: a slim output is assigned by position",
        ),
        (("sparse", 10, 9), {"input_shares": [0.2]}, "3 windows of 2 leave some of the 9 inputs unseen"),
        (("sparse", 10, 2), {}, "segments: 3 of them for 2 cells"),
        (("sparse", 10, 9), {"input_shares": [0.5, 0.5]}, "input_shares: 2 of them for 1 layers"),
        (("lstm", 10, 8), {"overrides": {"layer7.input": {"kind": "dense"}}}, "no slot 'layer7.input'"),
        (
            ("lstm", 10, 8),
            {"overrides": {"layer0.input": POOL}},
            "layer0.input: a slim matrix holds word vectors",
        ),
    ],
)
def test_what_cannot_be_built(
    arguments: tuple[str, int, int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        architecture(*arguments, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"projection_size": 4}, "projection and projection_size go together"),
        (
            {"tied": True, "projection_size": 4, "projection": {"kind": "dense"}},
            "tied: the output reads 4 numbers, the embedding has 8",
        ),
    ],
)
def test_configurations_that_no_option_makes(values: dict[str, object], message: str) -> None:
    own = architecture("lstm", 10, 8).model_dump()
    with pytest.raises(ValidationError, match=message):
        LanguageModelConfig.model_validate(own | values)
