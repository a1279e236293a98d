"""Everything a training run depends on, beside its texts: a file that says it all."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nbest.errors import ConfigError

Rate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """How a model is built and trained.

    state           `sentence`: every sentence from the start state (what scoring hypotheses needs);
                    `stream`: running text in `columns` columns, the state carried over windows of `steps`
    loss            `full` softmax, or `sampled`: importance sampling with `samples` noise words a batch
    learning_rate   on the mean loss per token
    schedule        `halve`: after `patience` epochs without a better validation perplexity, stop below
                    `minimum_rate` times the first rate; `cosine`: down to zero over all epochs
    clip            largest gradient norm
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = "lstm"
    hidden_size: int = Field(default=256, ge=1, le=1 << 16)
    layers: int = Field(default=1, ge=1, le=64)
    options: dict[str, Any] = {}
    vocabulary_size: Count | None = None
    min_count: Count = 1
    lowercase: bool = False
    unseen_types: Count | None = None
    state: Literal["sentence", "stream"] = "sentence"
    tokens_per_batch: Count = 2048
    longest: Count = 80
    columns: Count = 64
    steps: Count = 35
    loss: Literal["full", "sampled"] = "full"
    samples: Count = 2048
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 20.0
    clip: Positive = 0.25
    schedule: Literal["halve", "cosine"] = "halve"
    patience: Count = 1
    minimum_rate: Positive = 0.01
    epochs: Count = 20
    dropout: Rate = 0.2
    input_dropout: Rate = 0.2
    seed: int = Field(default=1, ge=0, lt=1 << 63)
    precision: Literal["fp32", "bf16"] = "fp32"


def read_recipe(path: Path, changes: dict[str, Any]) -> Recipe:
    """The recipe of a TOML file with some values changed; raises ConfigError naming file and key."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe ({error.strerror})", where=str(path)) from None
    except ValueError as error:
        raise ConfigError(f"not a TOML file ({error})", where=str(path)) from None
    return make_recipe(values | changes, str(path))


def make_recipe(values: dict[str, Any], where: str | None = None) -> Recipe:
    """The recipe of these values; raises ConfigError naming the key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: {first['msg']}", where=where, got=repr(first.get("input"))) from None
