"""Learning from a larger model beside the text: its whole distribution of next words at every position.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", Section 2: both
distributions softened by a temperature T, gradients scaled by T^2.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.checkpoint import Checkpoint
from models.language_model import LanguageModel
from models.layers.lstm import State
from models.training.losses import TrainingLoss, softmax_, subtract_at
from models.training.output_chunks import OutputChunks
from models.training.window import Window
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError


class Teacher:
    """A trained model that reads what the student reads, its state carried in the same way."""

    def __init__(self, checkpoint: Checkpoint, vocabulary: Vocabulary) -> None:
        theirs, mine = checkpoint.vocabulary.words, vocabulary.words
        if theirs != mine or checkpoint.vocabulary.segmenter != vocabulary.segmenter:
            different = sum(a != b for a, b in zip(theirs, mine, strict=False))
            raise ConfigError(
                "the teacher has another vocabulary than the model that is started from",
                where=str(checkpoint.path),
                expected=f"the {len(mine)} words of that",
                got=f"{len(theirs)} words, {different} ids of them with another word",
            )
        self.model = checkpoint.model
        self.digest = checkpoint.digest
        self.state = self.model.start_state(1)
        self._chunks = OutputChunks(self.model)

    def read(self, window: Window) -> Callable[[slice], Tensor]:
        """Logits (n, V) of any part of the window's N real tokens, valid until the next call."""
        state = self.model.start_state(window.columns) if window.fresh else self.state
        with torch.no_grad():
            hidden, self.state = self.model(window.inputs, state)
        return self._chunks.reader(window.flat(hidden))


class DistilledCrossEntropy(TrainingLoss):
    """(1 - a) * -ln P(target) + a * T^2 * KL(teacher_T || student_T), a chunk of tokens at a time.

    The nats it returns are the student's -ln P(target): exp of their mean is the training perplexity.

    weight       a, the teacher's share
    temperature  T, what both models' logits are divided by in the second term
    """

    def __init__(
        self,
        model: LanguageModel,
        teacher: Teacher,
        *,
        weight: float,
        temperature: float,
        chunk_tokens: int | None = None,
    ) -> None:
        self.teacher = teacher
        self.weight = weight
        self.temperature = temperature
        self._chunks = OutputChunks(model, chunk_tokens=chunk_tokens)

    def backward(self, hidden: Tensor, window: Window, factor: float) -> tuple[float, Tensor]:
        """As every loss; the gradient is that of the sum of both terms."""
        targets = window.flat(window.targets)
        teacher_logits = self.teacher.read(window)
        a, t = self.weight, self.temperature

        def turn(logits: Tensor, part: slice) -> float:
            """(1-a) * (softmax - target) + a * T * (softmax_T - teacher_T)."""
            taught = torch.softmax(teacher_logits(part).div_(t), 1)  # (n, V)
            soft = torch.softmax(logits / t, 1)
            nats = softmax_(logits, targets[part])
            subtract_at(logits, targets[part], 1.0)
            logits.mul_(1 - a).add_(soft.sub_(taught), alpha=a * t)
            return nats

        return self._chunks.backward(hidden, turn, factor)

    def tensors(self) -> dict[str, Tensor]:
        """The teacher's state."""
        return self.teacher.state.tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.teacher.state = State.from_tensors(dict(tensors))
