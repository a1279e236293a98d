"""What a model's card says that was measured: perplexities of texts, bytes, how far from constant ln Z is.

Figures are plain numbers by a name that says what, of which text and in what unit, so that whatever shows a
card can show them all.
"""

from collections.abc import Mapping, Sequence

from models.checkpoint import Checkpoint, ModelCard
from models.info import describe
from models.language_model import LanguageModel
from models.matrices.base import Matrix
from models.matrices.dense import DenseMatrix
from models.scoring.normalizer import constant_log_normalizer
from models.training.corpus import Corpus, StateReset
from models.training.evaluation import normalizer_spread, perplexity
from models.vocabulary import words_of
from nbest.errors import ConfigError

STATES: tuple[StateReset, ...] = ("sentence", "stream")


def measured_card(checkpoint: Checkpoint, texts: Mapping[str, Sequence[str]]) -> ModelCard:
    """The model's card with its figures: bytes, and of each text by its name (lines are sentences).

    perplexity  as the text is, an unknown word one token `<unk>`; of known words alone; with P(<unk>) spread
                over unseen types as rescoring charges it; from the start state at each line and over running
                text
    oov_rate    share of unknown words among words and ends of sentences
    measured    the rest; "nats a character" compares models of any words or pieces: each character of the
                text and each end of a line counts, unknown words are charged
    """
    card = checkpoint.card
    found = describe(checkpoint)
    measured: dict[str, float] = {
        "bytes on disk, weights and words": found.weights_bytes + found.vocabulary_bytes,
        "bytes of weights in memory": found.resident_bytes,
    }
    perplexities: dict[str, float] = {}
    oov_rates: dict[str, float] = {}
    model, vocabulary = runnable(checkpoint.model), checkpoint.vocabulary
    for name, lines in texts.items():
        corpus = Corpus.from_lines(vocabulary, lines)
        for state in STATES:
            result = perplexity(model, vocabulary, corpus, state)
            of = f"{name}, {state} state"
            perplexities[of] = result.value
            perplexities[f"{of}, known words alone"] = result.known
            perplexities[f"{of}, OOV spread"] = result.oov_spread
            if state == "sentence":
                oov_rates[name] = result.oov / result.predictions
                measured[f"nats a character, {name}"] = result.charged_nats / characters(lines)
        measured |= _normalizer(checkpoint, model, name, corpus)
    return card.model_copy(
        update={
            "perplexity": card.perplexity | perplexities,
            "oov_rate": card.oov_rate | oov_rates,
            "measured": card.measured | measured,
        }
    )


def runnable(model: LanguageModel) -> LanguageModel:
    """A copy with the same numbers, each matrix in training form, or dense where it has none.

    Running text is read far faster so.
    """
    return model.with_each(_that_reads_running_text)


def _that_reads_running_text(matrix: Matrix) -> Matrix:
    try:
        return matrix.trainable()
    except ConfigError:
        whole = {"weight": matrix.materialize()}
        return DenseMatrix.from_stored(whole, matrix.out_features, matrix.in_features)


def characters(lines: Sequence[str]) -> int:
    """Characters of the words, one space between two, and one for each line's end; empty lines are none."""
    joined = (" ".join(words_of(line)) for line in lines)
    return sum(len(line) + 1 for line in joined if line)


def is_noise_contrastive(card: ModelCard) -> bool:
    """Whether the model was trained with NCE, and so may be scored without its normaliser."""
    return card.training.get("loss") == "nce"


def _normalizer(checkpoint: Checkpoint, model: LanguageModel, name: str, corpus: Corpus) -> dict[str, float]:
    """Of a model trained with NCE; nothing of any other, whose ln Z is not constant at all."""
    if not is_noise_contrastive(checkpoint.card):
        return {}
    constant = constant_log_normalizer(checkpoint.card.training, str(checkpoint.path))
    spread = normalizer_spread(model, checkpoint.vocabulary, corpus, "sentence", constant)
    return {
        f"ln Z less its constant, {name}, mean": spread.mean,
        f"ln Z less its constant, {name}, standard deviation": spread.standard_deviation,
        f"ln Z less its constant, {name}, 99.9th percentile of its size": spread.percentile_99_9,
    }
