"""A model on disk: comes back the same; anything wrong is named by file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.vocabulary import Vocabulary
from nbest.errors import InputError, ModelFileError, NotFoundError

SYSTEMS = ("lstm", "belm", "bllm", "slim")
Save = Callable[..., Checkpoint]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("system", SYSTEMS)
def test_comes_back_the_same(
    tmp_path: Path, make_model: Callable[..., LanguageModel], vocabulary: Vocabulary, system: str, layers: int
) -> None:
    model = make_model(system, layers=layers)
    checkpoint.save(tmp_path / "m", model, vocabulary, ModelCard(name="m", licence="CC0"))
    loaded = checkpoint.load(tmp_path / "m")
    assert loaded.vocabulary == vocabulary
    assert loaded.card.licence == "CC0"
    assert loaded.model.config == model.config
    again = dict(loaded.model.slots())
    for slot, matrix in model.slots():
        assert torch.equal(again[slot].materialize(), matrix.materialize()), slot
    vectors = dict(loaded.model.vectors())
    for name, vector in model.vectors():
        assert torch.equal(vectors[name], vector), name


def test_equal_models_have_equal_bytes_and_digests(saved: Save, tmp_path: Path) -> None:
    first = saved("bllm")
    weights = (first.path / checkpoint.WEIGHTS).read_bytes()
    shutil.rmtree(first.path)
    second = saved("bllm")
    assert (second.path / checkpoint.WEIGHTS).read_bytes() == weights
    assert first.digest == second.digest
    shutil.rmtree(first.path)
    assert first.digest != saved("bllm", seed=4).digest


def test_missing_model() -> None:
    with pytest.raises(NotFoundError, match="nowhere: no such model directory"):
        checkpoint.load("nowhere")


@pytest.mark.parametrize(
    "name", [checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.VOCABULARY, checkpoint.CARD]
)
def test_missing_file(saved: Save, name: str) -> None:
    path = saved("slim").path
    (path / name).unlink()
    with pytest.raises(ModelFileError, match=rf"{name}: model file is missing"):
        checkpoint.load(path)


@pytest.mark.parametrize("keep", [0, 4, 9, 200, 0.5, 0.999])
def test_truncated_weights(saved: Save, keep: float) -> None:
    weights = saved("belm").path / checkpoint.WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ModelFileError, match=r"model\.safetensors: corrupt or truncated"):
        checkpoint.load(weights.parent)


def _change_config(path: Path, **changes: object) -> None:
    document = json.loads((path / checkpoint.CONFIG).read_text())
    (path / checkpoint.CONFIG).write_text(json.dumps(document | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other/1"}, "not a model configuration; expected nbest-model/1; got 'other/1'"),
        ({"hidden_size": 24}, "does not fit the configuration"),
        ({"vocabulary_size": 78}, "expected 78 words; got 77"),
        (
            {"hidden_size": -1},
            "config.json:/hidden_size: Input should be greater than or equal to 1; got -1",
        ),
        ({"hidden_size": "16"}, "config.json:/hidden_size: Input should be a valid integer"),
        ({"layers": True}, "config.json:/layers: Input should be a valid integer; got True"),
        ({"layers": 10**400}, "config.json:/layers: Input should be less than or equal to"),
        ({"output_bias": 1}, "config.json:/output_bias: Input should be a valid boolean; got 1"),
        (
            {"system": "gru"},
            "config.json:/system: unknown system; expected one of lstm, .*; got",
        ),
        ({"system": 3}, "config.json:/system: Input should be a valid string; got 3"),
        ({"gates": "dense"}, "config.json:/gates: "),
        (
            {"embedding": {"kind": "dense", "scale": "x"}},
            "config.json:/embedding/dense/scale: Input should be",
        ),
        ({"surprise": 1}, "config.json:/surprise: Extra inputs are not permitted"),
        ({"output_bias": True}, "tensor 'output.bias' is missing"),
        ({"gates": {"kind": "pickle"}}, "config.json:/gates: Input tag 'pickle'"),
    ],
)
def test_configuration_that_does_not_fit(saved: Save, changes: dict[str, object], message: str) -> None:
    path = saved("lstm").path
    _change_config(path, **changes)
    with pytest.raises(ModelFileError, match=message):
        checkpoint.load(path)


def test_tensors_without_a_place(saved: Save) -> None:
    path = saved("belm").path
    _change_config(path, embedding_linear=None)
    with pytest.raises(ModelFileError, match=r"no place for; got \['embedding_linear.bias'"):
        checkpoint.load(path)


def test_broken_json(saved: Save) -> None:
    path = saved("lstm").path
    for content, place in (
        (b'{"name": 3}', ":/name: Input should be a valid string; got 3"),
        (b'{"name": "x", "perplexity": {"test": "1.5"}}', ":/perplexity/test: Input should be a valid"),
        (b'{"name": "\\ud800"}', ": a lone surrogate"),
        (b'{"name": "x", "training": {"rate": NaN}}', ": a number is not finite"),
        (b'{"name": "x", "perplexity": {"test": 1e999}}', ":/perplexity/test: Input should be a finite"),
        (b'{"name": "x", "name": "y"}', ": a key stands twice"),
    ):
        (path / checkpoint.CARD).write_bytes(content)
        with pytest.raises(ModelFileError, match=rf"card\.json{place}"):
            checkpoint.load(path)


@pytest.mark.parametrize("name", [checkpoint.CONFIG, checkpoint.VOCABULARY])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff{", "not JSON"),
        (b"[]", "/: not an object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": NaN}', "a number is not finite"),
        (b'{"a": 1, "a": 1}', "a key stands twice"),
    ],
)
def test_what_is_no_json_object(saved: Save, name: str, content: bytes, message: str) -> None:
    path = saved("lstm").path
    (path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"{name}: ?{message}"):
        checkpoint.load(path)


def test_a_model_is_not_overwritten(saved: Save) -> None:
    saved("lstm")
    with pytest.raises(InputError, match="lstm: is a directory in use; expected a new name"):
        saved("lstm")


def test_a_failed_write_leaves_nothing(
    tmp_path: Path,
    make_model: Callable[..., LanguageModel],
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_tensors", fail)
    with pytest.raises(InputError, match="m: cannot be written: disk full"):
        checkpoint.save(tmp_path / "m", make_model("lstm"), vocabulary, ModelCard(name="m"))
    assert list(tmp_path.iterdir()) == []
