"""Everything a training run depends on, beside its texts: a file that says it all."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.invalid import first_fault
from models.matrices.base import Count, Positive, Share
from models.vocabulary import MAX_UNSEEN
from nbest.errors import ConfigError

Rate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST_PIECES = 1 << 20


class Recipe(BaseModel):
    """How a model is built and trained.

    system, hidden_size, layers, options   the model, by name (models/architectures.py)
    vocabulary_size, min_count, lowercase, unseen_types   the words, where no trained model brings its own
    segmenter       `sentencepiece`: at most `vocabulary_size` pieces of words

    state           `sentence`: every sentence from the start state (what scoring hypotheses needs), batches
                    of `tokens_per_batch`, windows of at most `longest`;
                    `stream`: running text in `columns` columns, the state carried over windows of `steps`
    variable_steps  windows of `stream` vary in length around `steps`, and the learning rate with them
    validation_columns   columns that running text is validated in after each epoch; 1 is exact, more is
                    faster and leaves a remainder out; the model's card is always exact

    loss            `full` softmax; `sampled`: importance sampling; `nce`: noise contrastive estimation;
                    both with `samples` noise words a batch
    full_epochs     after `sampled`: so many of the last epochs with the full softmax; a teacher teaches these
    teacher_weight, teacher_temperature   a and T of distillation, where there is a teacher
    ar_alpha, tar_beta   activation and temporal activation regularisation of the last layer's outputs

    optimizer       with `momentum` for sgd and `weight_decay` (L2) for all
    learning_rate   on the mean loss per token
    schedule        `halve`: after `patience` epochs without a better validation perplexity, stop below
                    `minimum_rate` times the first rate; `exponential`: times `decay` an epoch, after
                    `decay_after` epochs at the first rate; `cosine`: down to zero over all epochs; `constant`
    clip            largest gradient norm
    averaging       of all weights over steps, for validation and the saved model: `non-monotone`: once a
                    validation perplexity is above the best of all but the last `non_monotone` epochs
                    (NT-ASGD); `start`: from the first step, until that same moment, which then ends the run

    dropout         between layers and, unless `output_dropout` is given, of the last layer's outputs
    input_dropout   of the embedding's output; `word_dropout` of whole words
    weight_drop     of the numbers of the recurrent matrices
    variational_dropout  one mask for all steps of a window

    precision       `bf16`: matrix products in training; weights, states and sums stay in 32 bits. For GPUs
                    and for CPUs with units for it (else slower)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = "lstm"
    hidden_size: int = Field(default=256, ge=1, le=1 << 16)
    layers: int = Field(default=1, ge=1, le=64)
    options: dict[str, Any] = {}
    vocabulary_size: Count | None = None
    min_count: Count = 1
    lowercase: bool = False
    unseen_types: Annotated[int, Field(ge=1, le=MAX_UNSEEN)] | None = None
    segmenter: Literal["word", "sentencepiece"] = "word"
    state: Literal["sentence", "stream"] = "sentence"
    tokens_per_batch: Count = 2048
    longest: Count = 80
    columns: Count = 64
    steps: Count = 35
    variable_steps: bool = False
    validation_columns: Count = 1
    loss: Literal["full", "sampled", "nce"] = "full"
    samples: Annotated[int, Field(ge=1, le=1 << 24)] = 2048
    full_epochs: int = Field(default=0, ge=0)
    teacher_weight: Share = 0.5
    teacher_temperature: Positive = 1.0
    ar_alpha: NotNegative = 0.0
    tar_beta: NotNegative = 0.0
    optimizer: Literal["sgd", "adam", "adagrad"] = "sgd"
    momentum: Rate = 0.0
    weight_decay: NotNegative = 0.0
    learning_rate: Positive = 20.0
    clip: Positive = 0.25
    schedule: Literal["halve", "cosine", "exponential", "constant"] = "halve"
    patience: Count = 1
    minimum_rate: Share = 0.01
    decay: Share = 0.5
    decay_after: Count = 1
    averaging: Literal["none", "non-monotone", "start"] = "none"
    non_monotone: Count = 5
    epochs: Count = 20
    dropout: Rate = 0.2
    input_dropout: Rate = 0.2
    output_dropout: Rate | None = None
    word_dropout: Rate = 0.0
    weight_drop: Rate = 0.0
    variational_dropout: bool = False
    seed: int = Field(default=1, ge=0, lt=1 << 63)
    precision: Literal["fp32", "bf16"] = "fp32"

    @model_validator(mode="after")
    def _goes_together(self) -> "Recipe":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is sgd's, the optimizer is {self.optimizer}")
        if self.segmenter != "word":
            self._check_pieces()
        if self.state == "sentence" and self.variable_steps:
            raise ValueError("variable_steps: windows vary in the stream state only")
        if self.full_epochs and self.loss != "sampled":
            raise ValueError(
                f"full_epochs: the full softmax ends runs of sampled words, the loss is {self.loss}"
            )
        return self

    def _check_pieces(self) -> None:
        if self.vocabulary_size is None:
            raise ValueError("segmenter: pieces need vocabulary_size, how many there may be")
        if self.vocabulary_size > MOST_PIECES:
            raise ValueError(f"vocabulary_size: more than {MOST_PIECES} pieces")
        if self.min_count != 1:
            raise ValueError("segmenter: pieces are limited by vocabulary_size, not by min_count")


def read_recipe(path: Path, changes: dict[str, Any]) -> Recipe:
    """The recipe of a TOML file with some values changed; raises ConfigError naming file and key.

    Options of the system are changed one by one, unless the system is changed too.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe ({error.strerror})", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not a TOML file ({error})", where=str(path)) from None
    own, new = values.get("options"), changes.get("options")
    same_system = changes.get("system", values.get("system")) == values.get("system")
    if isinstance(own, dict) and isinstance(new, dict) and same_system:
        changes = changes | {"options": own | new}
    return make_recipe(values | changes, str(path))


def make_recipe(values: dict[str, Any], where: str | None = None) -> Recipe:
    """The recipe of these values; raises ConfigError naming the key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        fault = first_fault(error)
        got = fault.value if fault.place else None
        raise ConfigError(str(fault), where=where, got=got) from None
