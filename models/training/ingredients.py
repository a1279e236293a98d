"""What a run starts with: words and texts as ids, the model, its loss."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models import checkpoint
from models.architectures import architecture
from models.checkpoint import Checkpoint
from models.config import LanguageModelConfig
from models.dropout import Dropout
from models.language_model import LanguageModel
from models.training.corpus import Corpus
from models.training.distillation import DistilledCrossEntropy, Teacher
from models.training.initialization import start_from
from models.training.losses import ChunkedCrossEntropy, TrainingLoss
from models.training.recipe import Recipe
from models.training.sampled_losses import Noise, NoiseContrastive, SampledCrossEntropy
from models.vocabulary import Vocabulary, build_piece_vocabulary, build_vocabulary
from nbest.errors import ConfigError
from nbest.files import read_lines
from nbest.signature import sha256_file

MANY_UNKNOWN = 0.3  # of a validation text: of another language or case than the training text


@dataclass(frozen=True)
class Texts:
    """Training and validation text."""

    train: Path
    valid: Path

    def described(self) -> list[dict[str, str]]:
        """Both for a card: part, file name, digest of the file's bytes."""
        files = {"train": self.train, "valid": self.valid}
        return [
            {"part": part, "file": path.name, "sha256": sha256_file(path)} for part, path in files.items()
        ]


@dataclass(frozen=True)
class Sources:
    """Trained models that a run uses: one that it starts from, one that it learns from."""

    init: Checkpoint | None
    teacher: Checkpoint | None

    @classmethod
    def load(cls, init: Path | None, teacher: Path | None, device: str) -> "Sources":
        """The models of these directories."""
        return cls(
            None if init is None else checkpoint.load(init, device),
            None if teacher is None else checkpoint.load(teacher, device),
        )

    def digests(self) -> dict[str, str | None]:
        """Digest of each, or None."""
        pairs = (("init", self.init), ("teacher", self.teacher))
        return {role: None if source is None else source.digest for role, source in pairs}


@dataclass(frozen=True)
class Ingredients:
    """Everything a run works on.

    last_loss  of the recipe's `full_epochs`
    notes      lines for whoever started the run
    """

    recipe: Recipe
    vocabulary: Vocabulary
    train: Corpus
    valid: Corpus
    model: LanguageModel
    loss: TrainingLoss
    last_loss: TrainingLoss
    dropout: Dropout
    notes: tuple[str, ...]


def gather(recipe: Recipe, texts: Texts, sources: Sources, device: str) -> Ingredients:
    """Read the texts, build the model; raises ConfigError where they cannot go together."""
    if sources.teacher is not None and recipe.loss != "full" and not recipe.full_epochs:
        raise ConfigError(
            "a teacher needs the full softmax",
            expected="loss full; or sampled, with full_epochs that it teaches",
            got=f"loss {recipe.loss!r}",
        )
    vocabulary, notes = _vocabulary(recipe, texts, sources)
    recipe = recipe.model_copy(update={"lowercase": vocabulary.lowercase})
    if sources.init is None:
        vocabulary = replace(vocabulary, running=recipe.state == "stream")
    train = Corpus.from_lines(vocabulary, _lines(texts.train), str(texts.train))
    valid = Corpus.from_lines(vocabulary, _lines(texts.valid), str(texts.valid))
    if (unknown := float(np.mean(valid.tokens == vocabulary.unknown_id))) > MANY_UNKNOWN:
        notes.append(f"warning: {unknown:.0%} of the words of {texts.valid} are unknown")
    torch.manual_seed(recipe.seed)
    recipe, config = _configuration(recipe, vocabulary, sources.init)
    if sources.init is None:
        model = LanguageModel(config)
    else:
        model, more = start_from(sources.init, config)
        notes += more
    model = model.to(device)
    losses = _losses(recipe, model, vocabulary, train, sources.teacher)
    return Ingredients(recipe, vocabulary, train, valid, model, *losses, _dropout(recipe), tuple(notes))


def _vocabulary(recipe: Recipe, texts: Texts, sources: Sources) -> tuple[Vocabulary, list[str]]:
    """The words of the model that is started from, or else of the teacher, or of the training text; notes."""
    for source, how in ((sources.init, "starting"), (sources.teacher, "learning")):
        if source is not None:
            words = source.vocabulary
            return words, [f"{how} from {source.path}: its {len(words)} words are kept"]
    if recipe.segmenter == "sentencepiece" and recipe.vocabulary_size is not None:
        made = build_piece_vocabulary(
            _lines(texts.train),
            size=recipe.vocabulary_size,
            lowercase=recipe.lowercase,
            unseen_types=recipe.unseen_types,
            where=str(texts.train),
        )
        return made, []
    built = build_vocabulary(
        _lines(texts.train),
        max_size=recipe.vocabulary_size,
        min_count=recipe.min_count,
        lowercase=recipe.lowercase,
        unseen_types=recipe.unseen_types,
        where=str(texts.train),
    )
    return built, []


def _configuration(
    recipe: Recipe, vocabulary: Vocabulary, init: Checkpoint | None
) -> tuple[Recipe, LanguageModelConfig]:
    """The recipe's model; or, where it names none or just that one, the very model that is started from.

    So a pruned or slim model, whose matrices no recipe names, stays what it is under the recipe that made it.
    Another system, or with other options, has that model's sizes where the recipe names none.
    """
    if init is not None:
        config = init.model.config
        own = {"system": config.system, "hidden_size": config.hidden_size, "layers": config.layers}
        named = own.keys() & recipe.model_fields_set
        if "options" not in recipe.model_fields_set and all(getattr(recipe, n) == own[n] for n in named):
            return recipe.model_copy(update=own), config
        recipe = recipe.model_copy(update={name: own[name] for name in own.keys() - named})
    shape = (recipe.system, len(vocabulary), recipe.hidden_size, recipe.layers)
    return recipe, architecture(*shape, **recipe.options)


def _losses(
    recipe: Recipe, model: LanguageModel, vocabulary: Vocabulary, train: Corpus, teacher: Checkpoint | None
) -> tuple[TrainingLoss, TrainingLoss]:
    """The loss, and that of the recipe's `full_epochs`; a teacher is for the full softmax."""
    full: TrainingLoss = ChunkedCrossEntropy(model)
    if teacher is not None:
        weight, temperature = recipe.teacher_weight, recipe.teacher_temperature
        full = DistilledCrossEntropy(
            model, Teacher(teacher, vocabulary), weight=weight, temperature=temperature
        )
    if recipe.loss == "full":
        return full, full
    counts = np.bincount(train.tokens, minlength=len(vocabulary)).astype(np.float64)
    counts[vocabulary.end_id] = train.sentences
    noise = Noise(counts, recipe.samples)
    loss = NoiseContrastive(model, noise) if recipe.loss == "nce" else SampledCrossEntropy(model, noise)
    return loss, full if recipe.full_epochs else loss


def _dropout(recipe: Recipe) -> Dropout:
    return Dropout(
        words=recipe.word_dropout,
        inputs=recipe.input_dropout,
        hidden=recipe.dropout,
        outputs=recipe.dropout if recipe.output_dropout is None else recipe.output_dropout,
        recurrent=recipe.weight_drop,
        variational=recipe.variational_dropout,
    )


def _lines(path: Path) -> Iterator[str]:
    return (line for _, line in read_lines(path))
