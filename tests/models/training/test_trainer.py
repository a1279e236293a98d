"""Training lowers the loss and writes a model that says how it was trained."""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models import architectures, catalog, checkpoint
from models.checkpoint import ModelCard
from models.compression import compress, slim_plan
from models.matrices.slim import SlimMatrix
from models.scoring.scorer import LanguageModelScorer
from models.training.corpus import Corpus
from models.training.distillation import DistilledCrossEntropy
from models.training.evaluation import normalizer_spread, perplexity
from models.training.ingredients import Texts
from models.training.recipe import Recipe, make_recipe
from models.training.trainer import Trainer
from nbest.errors import ConfigError

Make = Callable[..., Recipe]


def _perplexities(trainer: Trainer) -> list[float]:
    return [row["validation_perplexity"] for row in trainer.progress.log]


def test_the_last_epochs_may_be_of_the_full_softmax(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """The log has a column for either loss; the full one is the perplexity of the training text."""
    recipe = fast(loss="sampled", samples=4, full_epochs=2, epochs=5)
    Trainer(recipe, texts, tmp_path / "out").run()
    with (tmp_path / "out" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [bool(row["training_sampled_perplexity"]) for row in rows] == [True] * 3 + [False] * 2
    assert [bool(row["training_perplexity"]) for row in rows] == [False] * 3 + [True] * 2
    assert float(rows[4]["training_perplexity"]) > float(rows[2]["training_sampled_perplexity"])
    with pytest.raises(ConfigError, match="the full softmax ends runs of sampled words, the loss is nce"):
        make_recipe({"loss": "nce", "full_epochs": 1})


def test_a_model_made_smaller_stays_so_under_its_own_recipe(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """Codes stay, sub-vectors are trained; only another shape makes another model."""
    Trainer(fast(epochs=1), texts, tmp_path / "dense").run()
    dense = checkpoint.load(tmp_path / "dense")
    slim = compress(dense.model, slim_plan(dense.model.config, 4, 5))
    checkpoint.save(tmp_path / "slim", slim, dense.vocabulary, dense.card)
    Trainer(fast(epochs=1), texts, tmp_path / "tuned", init=tmp_path / "slim").run()
    tuned = checkpoint.load(tmp_path / "tuned")
    assert tuned.model.config == slim.config
    for (name, mine), (_, theirs) in zip(tuned.model.slots(), slim.slots(), strict=True):
        if isinstance(mine, SlimMatrix) and isinstance(theirs, SlimMatrix):
            assert torch.equal(mine.codes, theirs.codes), name
            assert not torch.equal(mine.weight, theirs.weight), name
    assert (
        tuned.card.perplexity["validation, sentence state"]
        < perplexity(
            slim.trainable(),
            dense.vocabulary,
            Corpus.from_lines(dense.vocabulary, texts.valid.read_text().strip().split("\n")),
            "sentence",
        ).value
    )
    again = Trainer(fast(layers=2), texts, tmp_path / "again", init=tmp_path / "slim")
    assert {slot.spec.kind for slot in again.model.config.slots()} == {"dense"}


def test_a_model_of_pieces(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """Its perplexity is by words, not by pieces; started from, it keeps its pieces; nothing is unknown."""
    recipe = fast(segmenter="sentencepiece", vocabulary_size=30, epochs=4, loss="sampled")
    Trainer(recipe, texts, tmp_path / "out").run()
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.vocabulary.segmenter is not None
    lines = texts.valid.read_text().strip().split("\n")
    scores = catalog.open_scorer(str(tmp_path / "out")).score(lines)
    words = sum(len(line.split(" ")) + 1 for line in lines)
    assert int(scores.token_counts.sum()) == words
    mean = -float(scores.nat_log_probs.sum()) / words
    assert loaded.card.perplexity["validation, sentence state"] == pytest.approx(math.exp(mean), rel=1e-4)
    assert loaded.card.oov_rate["validation"] == 0
    assert catalog.open_scorer(str(tmp_path / "out")).score(["catdog"]).oov_counts.tolist() == [0]
    again = Trainer(fast(epochs=1), texts, tmp_path / "again", init=tmp_path / "out")
    assert again.ingredients.vocabulary == loaded.vocabulary
    student = Trainer(fast(epochs=1), texts, tmp_path / "student", teacher=tmp_path / "out")
    assert student.ingredients.vocabulary == loaded.vocabulary
    Trainer(fast(epochs=1), texts, tmp_path / "words").run()
    with pytest.raises(
        ConfigError, match="the teacher has another vocabulary than the model that is started"
    ):
        Trainer(fast(), texts, tmp_path / "other", init=tmp_path / "words", teacher=tmp_path / "out")


@pytest.mark.parametrize("loss", ["full", "sampled", "nce"])
@pytest.mark.parametrize("state", ["sentence", "stream"])
@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "slim"])
def test_learns_and_writes_a_model(
    tmp_path: Path, texts: Texts, fast: Make, system: str, state: str, loss: str
) -> None:
    recipe = fast(system=system, state=state, loss=loss, epochs=10)
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer.run()
    found = _perplexities(trainer)
    assert found[-1] < found[0]
    assert found[-1] < 6  # of 13 words
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.card.perplexity[f"validation, {state} state"] == pytest.approx(
        trainer.progress.best, rel=1e-4
    )
    assert set(loaded.card.perplexity) == {
        "validation, sentence state",
        "validation, stream state",
        "validation, sentence state, OOV spread",
    }
    assert loaded.card.training["recipe"] == recipe.model_dump()
    assert loaded.card.training["loss"] == loss
    scores = LanguageModelScorer(loaded, "out").score(["the big dog walks", "walks dog the big"])
    assert scores.nat_log_probs[0] > scores.nat_log_probs[1]
    with (tmp_path / "out" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["validation_perplexity"]) for row in rows] == pytest.approx(found)
    assert "polyline" in (tmp_path / "out" / "log.svg").read_text()
    assert not trainer.saved.folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "sparse", "hidden_size": 21, "options": {"segments": 3}},
        {"system": "low-rank", "options": {"rank": 12}},
        {"system": "hashnet"},
        {"options": {"tied": True, "output_bias": True, "gate_biases": 2, "embedding_size": 16}, "layers": 2},
        {"optimizer": "adagrad", "learning_rate": 0.1},
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.3, "weight_decay": 1e-5},
        {"schedule": "exponential", "decay": 0.9, "decay_after": 3},
        {"schedule": "constant"},
        {"precision": "bf16"},
        {"precision": "bf16", "system": "bllm", "loss": "sampled", "full_epochs": 2},
        {"precision": "bf16", "system": "slim", "loss": "nce", "options": {"output_bias": True}},
        {"precision": "bf16", "system": "low-rank", "options": {"rank": 12}, "state": "stream"},
        {"precision": "bf16", "system": "sparse", "hidden_size": 21, "options": {"segments": 3}},
    ],
    ids=str,
)
def test_every_system_and_optimizer_learns(
    tmp_path: Path, texts: Texts, fast: Make, changes: dict[str, Any]
) -> None:
    trainer = Trainer(fast(**{"epochs": 10} | changes), texts, tmp_path / "out")
    trainer.run()
    assert _perplexities(trainer)[-1] < 5


@pytest.mark.parametrize("system", architectures.SYSTEMS)
def test_products_in_bf16_are_near_those_in_32_bits(
    tmp_path: Path, texts: Texts, fast: Make, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """One step's loss and gradients of every system; weights, states and gradients stay in 32 bits."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda _self: None)
    nats, gradients = [], []
    for precision in ("fp32", "bf16"):
        options = {"rank": 4} if system in ("projected", "tensor-train") else {}
        recipe = fast(system=system, precision=precision, state="stream", hidden_size=24, options=options)
        trainer = Trainer(recipe, texts, tmp_path / precision)
        nats.append(trainer.step(next(trainer.batches()))[0])
        found = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        assert {g.dtype for g in found} == {torch.float32}
        assert {t.dtype for t in trainer.state.tensors().values()} == {torch.float32}
        gradients.append(torch.cat([g.flatten() for g in found]))
    exact, low = gradients
    assert nats[1] == pytest.approx(nats[0], rel=0.01)
    assert 0 < float((low - exact).norm() / exact.norm()) < 0.05


def test_awd_lstm_learns_and_averages(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """All of AWD-LSTM at once; what is validated and saved are the averaged weights."""
    recipe = fast(
        state="stream",
        variable_steps=True,
        layers=2,
        options={"tied": True, "embedding_size": 16, "output_bias": True, "gate_biases": 2},
        learning_rate=0.02,
        schedule="constant",
        averaging="non-monotone",
        non_monotone=2,
        word_dropout=0.05,
        weight_drop=0.2,
        output_dropout=0.1,
        variational_dropout=True,
        ar_alpha=0.2,
        tar_beta=0.1,
        weight_decay=1.2e-6,
        columns=2,
        epochs=14,
    )
    lines: list[str] = []
    trainer = Trainer(recipe, texts, tmp_path / "out", report=lines.append)
    trainer.run()
    averaged = [row["averaged"] for row in trainer.progress.log]
    assert averaged == sorted(averaged)  # once on, it stays on
    assert averaged[-1]
    assert "from here on the weights are averaged" in lines
    assert min(_perplexities(trainer)) < 5
    card = checkpoint.load(tmp_path / "out").card
    assert card.perplexity["validation, stream state"] == pytest.approx(trainer.progress.best, rel=1e-4)
    assert "averaged" in (tmp_path / "out" / "log.svg").read_text()


def test_the_best_of_an_averaged_run_is_the_average(tmp_path: Path, texts: Texts, fast: Make) -> None:
    recipe = fast(averaging="start", optimizer="sgd", learning_rate=4.0, schedule="constant", epochs=2)
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer._epoch()
    means = trainer.average.tensors()
    best = load_file(tmp_path / "out.training" / "best.safetensors")
    own = dict(trainer.model.named_parameters())
    for name, value in own.items():
        assert torch.equal(best[name], means[name])
        assert not torch.equal(best[name], value)


def test_a_run_that_averages_from_its_start_ends_when_it_gets_no_further(
    tmp_path: Path, texts: Texts, fast: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fix_perplexities(monkeypatch, iter([9.0, 8.0, 7.5, 8.5, 7.0, 9.5, 6.0]))
    recipe = fast(averaging="start", non_monotone=2, schedule="constant", epochs=50)
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer.run()
    assert len(trainer.progress.log) == 6  # 8.5 is below 9.0; 9.5 above all but the last two


@dataclass(frozen=True)
class _Fixed:
    value: float


def _fix_perplexities(monkeypatch: pytest.MonkeyPatch, values: Iterator[float]) -> None:
    monkeypatch.setattr("models.training.trainer.perplexity", lambda *_args, **_kwargs: _Fixed(next(values)))


def test_rate_is_halved_without_progress_and_the_run_ends(
    tmp_path: Path, texts: Texts, fast: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fix_perplexities(monkeypatch, iter([float(k) for k in range(10, 100)]))
    changes = {"schedule": "halve", "patience": 2, "minimum_rate": 0.3, "epochs": 50}
    recipe = fast(optimizer="sgd", learning_rate=1.0, **changes)
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer.run()
    assert [row["rate"] for row in trainer.progress.log] == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_averaging_begins_at_the_first_non_monotone_epoch(
    tmp_path: Path, texts: Texts, fast: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fix_perplexities(monkeypatch, iter([9.0, 8.0, 8.5, 7.0, 8.2, 8.2, 6.0]))
    recipe = fast(averaging="non-monotone", non_monotone=2, schedule="constant", epochs=7)
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer.run()
    # 8.2 of epoch 5 is above the best of 9.0 and 8.0: from epoch 6 on
    assert [row["averaged"] for row in trainer.progress.log] == [False] * 5 + [True] * 2


def test_nce_brings_the_normaliser_to_its_constant(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """From a model whose ln Z is anywhere: the loss goes down, ln Z goes to ln V, perplexity stays exact."""
    lifted = fast(epochs=10, options={"output_bias": True})
    Trainer(lifted, texts, tmp_path / "full").run()
    full = checkpoint.load(tmp_path / "full")
    assert full.model.output_bias is not None
    full.model.output_bias.data += 2.0  # the same probabilities, another ln Z
    checkpoint.save(tmp_path / "lifted", full.model, full.vocabulary, full.card)

    recipe = fast(
        loss="nce", samples=200, epochs=12, dropout=0.0, input_dropout=0.0, options={"output_bias": True}
    )
    trainer = Trainer(recipe, texts, tmp_path / "nce", init=tmp_path / "lifted")
    given, constant = trainer.ingredients, math.log(13)
    before = normalizer_spread(given.model, given.vocabulary, given.valid, "sentence", constant)
    trainer.run()
    after = checkpoint.load(tmp_path / "nce").card.training["log_normalizer"]
    assert after["constant"] == pytest.approx(constant)
    assert before.mean > 1
    assert abs(after["mean"]) < 0.1
    assert after["mean_absolute"] < after["percentile_99_9"] < 0.5
    losses = [row["training_NCE_loss"] for row in trainer.progress.log]
    assert losses[-1] < losses[0]
    assert _perplexities(trainer)[-1] < 3


def test_exact_perplexity_improves_under_nce(tmp_path: Path, texts: Texts, fast: Make) -> None:
    trainer = Trainer(fast(loss="nce", samples=200, epochs=12), texts, tmp_path / "nce")
    trainer.run()
    assert _perplexities(trainer)[-1] < 3 < _perplexities(trainer)[0]
    spread = checkpoint.load(tmp_path / "nce").card.training["log_normalizer"]
    assert abs(spread["mean"]) < 0.2


def test_a_student_learns_from_its_teacher(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """From the teacher alone, a student comes nearer to the teacher's perplexity than it began."""
    Trainer(fast(epochs=10), texts, tmp_path / "teacher").run()
    teacher = checkpoint.load(tmp_path / "teacher")
    recipe = fast(system="bllm", epochs=8, teacher_weight=1.0, teacher_temperature=2.0)
    trainer = Trainer(recipe, texts, tmp_path / "student", teacher=tmp_path / "teacher")
    trainer.run()
    found = _perplexities(trainer)
    assert found[-1] < 3.5 < found[0]
    card = checkpoint.load(tmp_path / "student").card
    assert card.training["teacher"] == {"name": "teacher", "digest": teacher.digest}
    for loss in ("nce", "sampled"):
        with pytest.raises(
            ConfigError, match=f"a teacher needs the full softmax.*full_epochs.*got loss '{loss}'"
        ):
            Trainer(fast(loss=loss), texts, tmp_path / "other", teacher=tmp_path / "teacher")


def test_a_teacher_teaches_the_last_epochs_of_sampled_words(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """The same model as without one before these, another after them."""
    Trainer(fast(epochs=10), texts, tmp_path / "teacher").run()
    recipe = fast(epochs=3, loss="sampled", full_epochs=1)
    alone = Trainer(recipe, texts, tmp_path / "alone")
    alone.run()
    taught = Trainer(recipe, texts, tmp_path / "taught", teacher=tmp_path / "teacher")
    taught.run()
    assert isinstance(taught.loss, DistilledCrossEntropy)
    assert _perplexities(taught)[:2] == _perplexities(alone)[:2]
    assert _perplexities(taught)[2] != _perplexities(alone)[2]


def test_a_student_reads_any_text_with_its_teachers_words(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """The words of its own text that the teacher does not know are <unk>; its state is its own recipe's."""
    Trainer(fast(epochs=1, lowercase=True), texts, tmp_path / "teacher").run()
    teacher = checkpoint.load(tmp_path / "teacher").vocabulary
    for name in ("train", "valid"):
        (tmp_path / name).write_text(getattr(texts, name).read_text().upper() + "STRANGE\n")
    own = Texts(tmp_path / "train", tmp_path / "valid")
    lines: list[str] = []
    recipe = fast(epochs=1, state="stream")
    Trainer(recipe, own, tmp_path / "student", teacher=tmp_path / "teacher", report=lines.append).run()
    assert f"learning from {tmp_path / 'teacher'}: its {len(teacher)} words are kept" in lines
    student = checkpoint.load(tmp_path / "student")
    assert student.vocabulary == replace(teacher, running=True)
    assert student.card.oov_rate["validation"] > 0
    assert student.vocabulary.encode("STRANGE") == ([teacher.unknown_id], 1)


def test_adapting_a_trained_model_to_a_text(tmp_path: Path, texts: Texts, fast: Make) -> None:
    """Its words, its very configuration and its matrices are where training starts."""
    Trainer(fast(system="slim", options={"ratio": 0.5}, epochs=10), texts, tmp_path / "general").run()
    general = checkpoint.load(tmp_path / "general")
    own = Texts(tmp_path / "own.txt", texts.valid)
    own.train.write_text("the red cat eats\nthe blue dog walks\n" * 20)
    lines: list[str] = []
    recipe = Recipe(epochs=1, learning_rate=0.01, tokens_per_batch=60)
    trainer = Trainer(recipe, own, tmp_path / "mine", init=tmp_path / "general", report=lines.append)
    assert trainer.ingredients.vocabulary == general.vocabulary
    for (_, mine), (_, theirs) in zip(trainer.model.slots(), general.model.slots(), strict=True):
        assert torch.equal(mine.materialize(), theirs.materialize())
    trainer.run()
    adapted = checkpoint.load(tmp_path / "mine")
    assert adapted.model.config == general.model.config
    assert adapted.card.training["init"] == {"name": "general", "digest": general.digest}
    assert adapted.card.training["recipe"]["system"] == "slim"
    assert f"starting from {tmp_path / 'general'}: its 13 words are kept" in lines
    assert adapted.card.perplexity["validation, sentence state"] < 6


def test_a_model_is_not_overwritten(tmp_path: Path, texts: Texts, fast: Make) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="out is there already: remove it, or give another name"):
        Trainer(fast(), texts, tmp_path / "out")


def test_divergence_is_said(tmp_path: Path, texts: Texts, fast: Make) -> None:
    recipe = fast(optimizer="sgd", learning_rate=1e30, clip=1e30, schedule="halve")
    with pytest.raises(ConfigError, match="training diverged: the loss is not finite; got learning rate"):
        Trainer(recipe, texts, tmp_path / "out").run()


def test_the_card_that_was_given_is_kept(tmp_path: Path, texts: Texts, fast: Make) -> None:
    given = ModelCard(name="mine", licence="CC0-1.0", perplexity={"other": 5.0})
    Trainer(fast(epochs=1), texts, tmp_path / "out", card=given).run()
    card = checkpoint.load(tmp_path / "out").card
    assert (card.name, card.licence, card.perplexity["other"]) == ("mine", "CC0-1.0", 5.0)
    assert [corpus["part"] for corpus in card.corpora] == ["train", "valid"]
    assert [corpus["file"] for corpus in card.corpora] == [texts.train.name, texts.valid.name]
