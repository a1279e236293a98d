"""Losses over targets and sampled words, for large vocabularies: NCE and importance sampling.

Both draw the same noise: `samples` words a window, shared by its tokens, from the training text's
unigram^0.75 (Li et al., "Slim Embedding Layers for Recurrent Neural Language Models"). What they return is no
perplexity: perplexities always come from the exact normaliser.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.language_model import LanguageModel
from models.training.losses import TrainingLoss
from models.training.window import Window


class Noise:
    """Words drawn with replacement, `samples` at a time, word w with probability q(w).

    counts   (V,) of the training text; one is added to each, so that every word can be drawn
    """

    def __init__(self, counts: NDArray[np.float64], samples: int, seed: int = 1) -> None:
        weights = (counts + 1.0) ** 0.75
        self.samples = samples
        self.probabilities = torch.from_numpy(weights / weights.sum())  # (V,) float64
        self._random = torch.Generator().manual_seed(seed)

    def draw(self) -> tuple[Tensor, Tensor]:
        """(different words drawn, how often each was)."""
        drawn = torch.multinomial(self.probabilities, self.samples, replacement=True, generator=self._random)
        words, times = torch.unique(drawn, return_counts=True)
        return words, times

    def log_expected(self) -> Tensor:
        """(V,) ln of how often each word is expected: ln(samples * q)."""
        return (self.samples * self.probabilities).log()

    def log_probability_of_being_drawn(self) -> Tensor:
        """(V,) ln P(drawn at least once)."""
        return (-torch.expm1(self.samples * torch.log1p(-self.probabilities))).log()

    def state(self) -> Tensor:
        """The generator's state."""
        return self._random.get_state()

    def set_state(self, state: Tensor) -> None:
        """Put back what `state` gave."""
        self._random.set_state(state)


class SampledLoss(TrainingLoss):
    """What NCE and importance sampling share: corrected logits of targets and noise.

    correction  (V,) is taken off every logit
    """

    def __init__(self, model: LanguageModel, noise: Noise, correction: Tensor) -> None:
        self.model = model
        self.noise = noise
        self._correction = correction.float().to(model.device)

    def backward(self, hidden: Tensor, window: Window, factor: float) -> tuple[float, Tensor]:
        """As every loss; the nats are those of the sampled problem."""
        words, times = (drawn.to(hidden.device) for drawn in self.noise.draw())
        targets = window.flat(window.targets)
        leaf = hidden.detach().requires_grad_()
        with torch.enable_grad():
            x = self.model.before_output(leaf)  # (N, E)
            ids = torch.cat([targets, words])  # one look-up: each makes a gradient as large as the matrix
            rows, offsets = self.model.output.rows(ids), -self._correction[ids]  # (N+K, E), (N+K,)
            if self.model.output_bias is not None:
                offsets = offsets + self.model.output_bias[ids]
            count = len(targets)
            true = torch.linalg.vecdot(x, rows[:count]) + offsets[:count]  # (N,)
            others = functional.linear(x, rows[count:], offsets[count:])  # (N, K)
            loss = self._nats(true, others, targets, words, times)
            torch.autograd.backward(loss * factor)
        assert leaf.grad is not None
        return float(loss.detach()), leaf.grad

    @abstractmethod
    def _nats(self, true: Tensor, others: Tensor, targets: Tensor, words: Tensor, times: Tensor) -> Tensor:
        """The loss from corrected logits of targets (N,) and of noise (N, K), drawn `times` (K,) each."""

    def tensors(self) -> dict[str, Tensor]:
        """The noise generator's state."""
        return {"noise": self.noise.state()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.noise.set_state(tensors["noise"].cpu())


class SampledCrossEntropy(SampledLoss):
    """Importance-sampled softmax: which of the noise words and the target is the target?

    Words drawn several times count once, so every logit is corrected by -ln P(drawn at least once); a noise
    word equal to a token's target is left out for that token (Jean et al., "On Using Very Large Target
    Vocabulary for Neural Machine Translation", Section 3.2; Jozefowicz et al., "Exploring the Limits of
    Language Modeling", Section 3.1).
    """

    measure = "sampled perplexity"

    def __init__(self, model: LanguageModel, noise: Noise) -> None:
        super().__init__(model, noise, noise.log_probability_of_being_drawn())

    def _nats(self, true: Tensor, others: Tensor, targets: Tensor, words: Tensor, times: Tensor) -> Tensor:
        others = others.masked_fill(words[None, :] == targets[:, None], -1e9)
        return (torch.logaddexp(true, others.logsumexp(1)) - true).sum()


class NoiseContrastive(SampledLoss):
    """NCE: is a word the text's or the noise's? The normaliser is taken to be constant, and so it becomes.

    With k noise words a token, P(text | w) = sigmoid(s(w) - ln Z - ln(k q(w))), and the loss is
    -ln P(text | target) - sum over noise of ln P(noise | w) (Mnih and Teh, "A Fast and Simple Algorithm for
    Training Neural Probabilistic Language Models", Section 3). ln Z is held at ln V, which it is for a model
    whose logits are all zero: training starts self-normalised.
    """

    measure = "NCE loss"

    def __init__(self, model: LanguageModel, noise: Noise) -> None:
        self.log_normalizer = math.log(len(noise.probabilities))
        super().__init__(model, noise, noise.log_expected() + self.log_normalizer)

    def _nats(self, true: Tensor, others: Tensor, targets: Tensor, words: Tensor, times: Tensor) -> Tensor:
        return functional.softplus(-true).sum() + (functional.softplus(others) @ times.to(others.dtype)).sum()

    def shown(self, nats_per_token: float) -> float:
        """The mean itself: its exponential would mean nothing."""
        return nats_per_token
