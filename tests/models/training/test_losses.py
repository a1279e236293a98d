"""Losses and their gradients against autograd on the formula as it stands in the source."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.training.distillation import DistilledCrossEntropy, Teacher
from models.training.losses import ChunkedCrossEntropy, TrainingLoss
from models.training.sampled_losses import Noise, NoiseContrastive, SampledCrossEntropy
from models.training.window import Window
from models.vocabulary import SPECIAL, Vocabulary
from nbest.errors import ConfigError

Make = Callable[..., LanguageModel]
Formula = Callable[[Tensor, Tensor], Tensor]  # logits (N, V), targets (N,) -> loss summed over tokens
SYSTEMS = ("lstm", "belm", "bllm", "slim", "low-rank")
V = 77


@pytest.fixture
def window() -> Window:
    random = torch.Generator().manual_seed(1)
    inputs, targets = torch.randint(0, V, (2, 4, 3), generator=random)  # (T, B) each
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[3, 1] = False
    return Window(inputs, targets, mask, fresh=True, is_full=False)


def _hidden(model: LanguageModel) -> Tensor:
    size = model.config.outputs(model.config.layers - 1)
    return torch.randn(11, size, generator=torch.Generator().manual_seed(2))  # N = 11 real tokens


def _expected(
    model: LanguageModel, hidden: Tensor, window: Window, formula: Formula, factor: float
) -> tuple[float, Tensor, list[Tensor]]:
    """(loss, gradient by hidden, gradients of parameters) of a formula over all logits, by autograd."""
    leaf = hidden.clone().requires_grad_()
    logits = model.before_output(leaf) @ model.output.rows(torch.arange(V)).t()
    if model.output_bias is not None:
        logits = logits + model.output_bias
    loss = formula(logits, window.flat(window.targets))
    torch.autograd.backward(loss * factor)
    assert leaf.grad is not None
    return float(loss.detach()), leaf.grad, _gradients(model)


def _gradients(model: LanguageModel) -> list[Tensor]:
    """Of all parameters that the output layer has a part in; cleared on the way."""
    found = []
    for parameter in model.parameters():
        if parameter.grad is not None:
            found.append(parameter.grad.clone())
            parameter.grad = None
    return found


def _agree(loss: TrainingLoss, model: LanguageModel, window: Window, formula: Formula) -> float:
    """Asserts equal gradients; returns loss - formula."""
    hidden = _hidden(model)
    wanted, by_hidden, gradients = _expected(model, hidden, window, formula, 0.3)
    mine, mine_by_hidden = loss.backward(hidden, window, 0.3)
    torch.testing.assert_close(mine_by_hidden, by_hidden, rtol=1e-4, atol=1e-5)
    for got, expected in zip(_gradients(model), gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    return mine - wanted


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("system", SYSTEMS)
def test_chunks_add_up_to_the_whole(
    make_model: Make, window: Window, system: str, chunk: int, bias: bool
) -> None:
    model = make_model(system, output_bias=bias)
    loss = ChunkedCrossEntropy(model, chunk_tokens=chunk)
    assert _agree(loss, model, window, _cross_entropy) == pytest.approx(0, abs=1e-3)
    hidden, targets = _hidden(model), window.flat(window.targets)
    nats = _expected(model, hidden, window, _cross_entropy, 1.0)[0]
    assert loss.nats(hidden, targets) == pytest.approx(nats, rel=1e-5)


def test_gradients_are_added_to_those_that_are_there(make_model: Make, window: Window) -> None:
    """As with a tied output, whose matrix the embedding has a part in too."""
    model = make_model("belm", output_bias=True)
    loss = ChunkedCrossEntropy(model)
    for _ in range(2):
        loss.backward(_hidden(model), window, 1.0)
    twice = _gradients(model)
    loss.backward(_hidden(model), window, 1.0)
    for got, once in zip(twice, _gradients(model), strict=True):
        torch.testing.assert_close(got, 2 * once)


def test_a_large_vocabulary_has_small_chunks(make_model: Make) -> None:
    model = make_model("lstm")
    chunks = ChunkedCrossEntropy(model)._chunks
    assert chunks.chunk_tokens == 512
    model.config = model.config.model_copy(update={"vocabulary_size": 200_000})
    assert ChunkedCrossEntropy(model)._chunks.chunk_tokens == 41  # 32 MB of logits


def test_bf16_is_close(make_model: Make, window: Window) -> None:
    for system in ("lstm", "slim"):
        model = make_model(system)
        exact = ChunkedCrossEntropy(model).backward(_hidden(model), window, 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            low = ChunkedCrossEntropy(model).backward(_hidden(model), window, 1.0)
        assert low[0] == pytest.approx(exact[0], rel=0.02)
        assert float(torch.cosine_similarity(low[1].flatten(), exact[1].flatten(), 0)) > 0.999


def _drawn(noise: Noise) -> tuple[list[int], list[int]]:
    """(words, times) that the next draw will give."""
    state = noise.state()
    words, times = noise.draw()
    noise.set_state(state)
    return words.tolist(), times.tolist()


COUNTS = np.arange(V, dtype=np.float64) ** 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_importance_sampling_is_its_formula(make_model: Make, window: Window, system: str) -> None:
    """Softmax over the target and the noise words that are not it, each logit less ln P(word is drawn)."""
    model = make_model(system, output_bias=True)
    noise = Noise(COUNTS, samples=30)
    words, _ = _drawn(noise)
    q = (COUNTS + 1) ** 0.75 / ((COUNTS + 1) ** 0.75).sum()

    def formula(logits: Tensor, targets: Tensor) -> Tensor:
        corrected = logits - torch.from_numpy(np.log(1 - (1 - q) ** 30)).float()
        total = logits.new_zeros(())
        for row, target in zip(corrected, targets.tolist(), strict=True):
            among = [target, *(word for word in words if word != target)]
            total = total - torch.log_softmax(row[among], 0)[0]
        return total

    assert _agree(SampledCrossEntropy(model, noise), model, window, formula) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("system", SYSTEMS)
def test_nce_is_its_formula(make_model: Make, window: Window, system: str) -> None:
    """Binary cross-entropy of text against k noise words, P(text | w) = p(w) / (p(w) + k q(w))."""
    model = make_model(system, output_bias=True)
    noise = Noise(COUNTS, samples=30)
    words, times = _drawn(noise)
    assert max(times) > 1  # words drawn more than once count so often
    q = torch.from_numpy((COUNTS + 1) ** 0.75 / ((COUNTS + 1) ** 0.75).sum())

    def formula(logits: Tensor, targets: Tensor) -> Tensor:
        p = logits.double().exp() / V  # the normaliser is held at V
        text = p / (p + 30 * q)
        total = logits.new_zeros((), dtype=torch.float64)
        for row, target in zip(text, targets.tolist(), strict=True):
            total = total - row[target].log()
            for word, count in zip(words, times, strict=True):
                total = total - count * (1 - row[word]).log()
        return total

    assert _agree(NoiseContrastive(model, noise), model, window, formula) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("system", SYSTEMS)
def test_sampling_every_word_is_the_full_softmax(make_model: Make, window: Window, system: str) -> None:
    """With so much noise that every word is surely drawn, no correction is left."""
    model = make_model(system, output_bias=True)
    loss = SampledCrossEntropy(model, Noise(np.ones(V), samples=20_000))
    assert _agree(loss, model, window, _cross_entropy) == pytest.approx(0, abs=1e-3)


def test_sampled_gradient_points_where_the_full_one_does(make_model: Make, window: Window) -> None:
    model = make_model("lstm")
    _, full, _ = _expected(model, _hidden(model), window, _cross_entropy, 1.0)
    loss = SampledCrossEntropy(model, Noise(np.ones(V), samples=40))
    mean = torch.stack([loss.backward(_hidden(model), window, 1.0)[1] for _ in range(300)]).mean(0)
    assert float(torch.cosine_similarity(mean.flatten(), full.flatten(), 0)) > 0.98


def test_nce_pulls_the_normaliser_to_its_constant(make_model: Make, window: Window) -> None:
    """Logits too high by a constant: cross-entropy does not mind, NCE lowers them; too low: it lifts them."""
    for offset, sign in ((3.0, 1), (-3.0, -1)):
        model = make_model("lstm", output_bias=True)
        for parameter in model.parameters():
            parameter.data.zero_()
        assert model.output_bias is not None
        model.output_bias.data.fill_(offset)
        NoiseContrastive(model, Noise(np.ones(V), samples=500)).backward(_hidden(model), window, 1.0)
        assert model.output_bias.grad is not None
        assert sign * float(model.output_bias.grad.sum()) > 1


def test_noise_can_be_taken_up_again(make_model: Make, window: Window) -> None:
    model = make_model("lstm")
    loss = SampledCrossEntropy(model, Noise(np.ones(V), samples=10))
    kept = loss.tensors()
    first = loss.backward(_hidden(model), window, 1.0)[0]
    assert loss.backward(_hidden(model), window, 1.0)[0] != first
    loss.load_tensors(kept)
    assert loss.backward(_hidden(model), window, 1.0)[0] == first


def test_noise_follows_the_smoothed_unigram() -> None:
    noise = Noise(np.array([15.0, 0.0, 80.0]), samples=200_000)  # weights 16, 1, 81 to the power 0.75
    words, times = noise.draw()
    assert words.tolist() == [0, 1, 2]
    assert (times / 200_000).tolist() == pytest.approx([8 / 36, 1 / 36, 27 / 36], abs=0.005)
    assert noise.log_expected().exp().tolist() == pytest.approx([200_000 * w / 36 for w in (8, 1, 27)])
    one = Noise(np.array([15.0, 0.0, 80.0]), samples=2).log_probability_of_being_drawn()
    assert one.exp().tolist() == pytest.approx([1 - (1 - w / 36) ** 2 for w in (8, 1, 27)])


@pytest.fixture
def teacher(make_model: Make, vocabulary: Vocabulary) -> Teacher:
    model = make_model("lstm", hidden_size=24, seed=8).eval()
    return Teacher(Checkpoint(Path("big"), model, vocabulary, ModelCard(name="big"), "sha256:0"), vocabulary)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("weight", [0.4, 1.0])
@pytest.mark.parametrize("system", SYSTEMS)
def test_distillation_is_its_formula(
    make_model: Make, window: Window, teacher: Teacher, system: str, weight: float, temperature: float
) -> None:
    model = make_model(system, output_bias=True)
    hidden, _ = teacher.model(window.inputs, teacher.model.start_state(3))
    taught = teacher.model.logits(teacher.model.prepare_output(window.flat(hidden)), slice(0, V)).detach()
    nats: list[float] = []

    def formula(logits: Tensor, targets: Tensor) -> Tensor:
        hard = _cross_entropy(logits, targets)
        nats.append(float(hard.detach()))
        soft = torch.nn.functional.kl_div(
            torch.log_softmax(logits / temperature, 1),
            torch.log_softmax(taught / temperature, 1),
            reduction="sum",
            log_target=True,
        )
        return (1 - weight) * hard + weight * temperature**2 * soft

    loss = DistilledCrossEntropy(model, teacher, weight=weight, temperature=temperature, chunk_tokens=4)
    _agree(loss, model, window, formula)
    assert loss.backward(_hidden(model), window, 1.0)[0] == pytest.approx(nats[0], rel=1e-5)


def test_the_teacher_carries_its_state(window: Window, teacher: Teacher) -> None:
    whole, _ = teacher.model(window.inputs, teacher.model.start_state(3))
    wanted = teacher.model.logits(teacher.model.prepare_output(whole.flatten(0, 1)), slice(0, V))
    found = []
    for start, stop in ((0, 3), (3, 4)):
        part = (x[start:stop] for x in (window.inputs, window.targets, torch.ones_like(window.mask)))
        read = teacher.read(Window(*part, fresh=start == 0, is_full=True))
        found.append(read(slice(0, 3 * (stop - start))).clone())
    torch.testing.assert_close(torch.cat(found), wanted.detach())


def test_a_teacher_of_other_words_is_refused(teacher: Teacher, vocabulary: Vocabulary) -> None:
    other = Vocabulary((*vocabulary.words[:-1], "other"))
    source = Checkpoint(Path("big"), teacher.model, vocabulary, ModelCard(name="big"), "sha256:0")
    with pytest.raises(ConfigError, match=r"big: the teacher has another vocabulary.*77 words, 1 ids"):
        Teacher(source, other)
    with pytest.raises(ConfigError, match="got 77 words, 0 ids"):
        Teacher(source, Vocabulary((*SPECIAL, *vocabulary.words[3:50])))


def test_what_is_shown(make_model: Make, teacher: Teacher) -> None:
    model = make_model("lstm")
    noise = Noise(np.ones(V), samples=10)
    distilled = DistilledCrossEntropy(model, teacher, weight=0.5, temperature=1.0)
    for loss in (ChunkedCrossEntropy(model), distilled, SampledCrossEntropy(model, noise)):
        assert loss.shown(2.0) == pytest.approx(math.exp(2))
    assert NoiseContrastive(model, noise).shown(2.0) == 2.0
