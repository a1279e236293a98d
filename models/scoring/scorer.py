"""Scores texts as if each had been scored alone from the start state, reading each unique prefix once.

Texts are taken in groups of a bounded number of words; several groups' prefix trees are walked at a time.
Memory: the states of the prefixes in work, one block of logits, and the trees.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.scoring.engine import Engine, Precision, TorchEngine
from models.scoring.frontier import BATCH, Frontier
from models.scoring.native_engine import NativeEngine, kernels
from models.scoring.normalizer import constant_log_normalizer
from models.scoring.tasks import Context, Limits, ScoreTask, Task, TextScores, TokenScore, TokenTask
from nbest.errors import ConfigError, ScoringCancelledError

T = TypeVar("T")

GROUP_WORDS = 20_000  # words of hypotheses whose prefixes are in one tree
STATE_BYTES = 256 * 1024 * 1024  # of the states of all prefixes in work
GROUPS_IN_STATES = 16  # a group may take an eighth of the states: those of two levels, a text a level


class LanguageModelScorer:
    """A language model as a scorer of texts.

    self_normalized  take a constant for the normaliser, which only a model trained with NCE allows; raises
                     ConfigError for any other
    precision        `fp32` is exact; `int8` multiplies 8-bit numbers, where the compiled kernels can
    native           whether to use the compiled kernels; unless given, where they are installed
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        *,
        batch: int = BATCH,
        group_words: int = GROUP_WORDS,
        state_bytes: int = STATE_BYTES,
        self_normalized: bool = False,
        precision: Precision = "fp32",
        native: bool | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self.batch = batch
        model = checkpoint.model
        each = sum(part.nbytes for layers in model.start_state(1) for part in layers)
        self.state_rows = state_bytes // each
        self._limits = Limits(group_words, max(1, self.state_rows // GROUPS_IN_STATES))
        constant: float | None = None
        if self_normalized:
            constant = constant_log_normalizer(checkpoint.card.training, str(checkpoint.path))
        self.engine = _engine(model, constant, precision, native)
        self._digest = checkpoint.digest + ("+self-normalized" if self_normalized else "")
        self._digest += "" if precision == "fp32" else f"+{precision}"

    @property
    def name(self) -> str:
        """Short name; becomes the feature's name."""
        return self._name

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of configuration, weights and vocabulary; and what else scores depend on."""
        return self._digest

    @property
    def card(self) -> ModelCard:
        """What a user should know about the model."""
        return self._checkpoint.card

    @property
    def takes_context(self) -> bool:
        """Whether a text can go on from sentences before it: the model has learnt from running text."""
        return self._checkpoint.vocabulary.running

    def score_task(self, texts: Sequence[str], contexts: Sequence[Context] | None = None) -> Task[TextScores]:
        """`score` as a task for `frontier`.

        contexts  (N,) the sentences before each text: they are read, and set the state that it is scored
                  from; ConfigError where the model does not take any
        """
        checkpoint = self._checkpoint
        return ScoreTask(texts, checkpoint.vocabulary, self._limits, str(checkpoint.path), contexts)

    def token_task(
        self, texts: Sequence[str], contexts: Sequence[Context] | None = None
    ) -> Task[list[list[TokenScore]]]:
        """`score_tokens` as a task for `frontier`; contexts as of `score_task`."""
        checkpoint = self._checkpoint
        return TokenTask(texts, checkpoint.vocabulary, self._limits, str(checkpoint.path), contexts)

    def frontier(self) -> Frontier:
        """Where tasks of this scorer can be worked on together."""
        vocabulary = self._checkpoint.vocabulary
        return Frontier(
            self.engine,
            start_id=vocabulary.start_id,
            end_id=vocabulary.end_id,
            most_rows=self.state_rows,
            batch=self.batch,
        )

    def score(self, texts: Sequence[str], cancelled: Callable[[], bool] | None = None) -> TextScores:
        """Scores of `texts`; each distinct text is read once.

        Raises ScoringCancelledError when `cancelled` says so; it is asked between steps.
        """
        return self.run(self.score_task(texts), cancelled)

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``; they add up to `score`'s."""
        return self.run(self.token_task(texts))

    def run(self, task: Task[T], cancelled: Callable[[], bool] | None = None) -> T:
        """One task alone, from beginning to end."""
        frontier = self.frontier()
        frontier.add(task.groups(), task.keep)
        while not frontier.is_idle:
            if cancelled is not None and cancelled():
                raise ScoringCancelledError("scoring was cancelled")
            frontier.step()
        return task.result()


def _engine(
    model: LanguageModel, constant: float | None, precision: Precision, native: bool | None
) -> Engine:
    """The fastest engine there is for the model, unless it is said which."""
    if native is None:
        native = kernels() is not None and model.device.type == "cpu"
    if native:
        return NativeEngine(model, constant, precision=precision)
    if precision != "fp32":
        raise ConfigError(f"precision {precision} needs the compiled kernels, nbest-native, and a CPU")
    return TorchEngine(model, constant)
