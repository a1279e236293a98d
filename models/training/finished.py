"""A run's end: the best weights measured, and written as a model with its card and its log."""

from typing import Any

import torch

from models.checkpoint import ModelCard
from models.training.evaluation import normalizer_spread, perplexity
from models.training.ingredients import Ingredients, Sources
from models.training.sampled_losses import NoiseContrastive
from models.training.saved_run import Progress
from nbest.signature import signature


def finished_card(
    card: ModelCard, run: Ingredients, sources: Sources, corpora: list[dict[str, str]], progress: Progress
) -> ModelCard:
    """`card` with how the run's model was trained and how well it predicts the validation text.

    Who made the model that it was started from is named too, and that model's licence holds unless another
    was given.
    """
    sentence = perplexity(run.model, run.vocabulary, run.valid, "sentence")
    stream = perplexity(run.model, run.vocabulary, run.valid, "stream")
    measured = {
        "validation, sentence state": sentence.value,
        "validation, stream state": stream.value,
        "validation, sentence state, OOV spread": sentence.oov_spread,
    }
    inherited = sources.init.card if sources.init is not None else card
    return card.model_copy(
        update={
            "licence": card.licence or inherited.licence,
            "attribution": [*dict.fromkeys([*inherited.attribution, *card.attribution])],
            "perplexity": card.perplexity | measured,
            "oov_rate": card.oov_rate | {"validation": sentence.oov / sentence.predictions},
            "corpora": card.corpora or corpora,
            "training": _training(run, sources, progress),
        }
    )


def _training(run: Ingredients, sources: Sources, progress: Progress) -> dict[str, Any]:
    """The recipe and all that a reader of the model's numbers should know."""
    described: dict[str, Any] = {
        "recipe": run.recipe.model_dump(),
        "loss": run.recipe.loss,
        "sentences": run.train.sentences,
        "tokens_per_epoch": run.train.predictions,
        "epochs": progress.epoch,
        "hours": round(progress.seconds / 3600, 2),
        "signature": signature({"torch": torch.__version__, "threads": torch.get_num_threads()}),
    }
    for role, source in (("init", sources.init), ("teacher", sources.teacher)):
        if source is not None:
            described[role] = {"name": source.card.name, "digest": source.digest}
    if isinstance(run.loss, NoiseContrastive):
        spread = normalizer_spread(run.model, run.vocabulary, run.valid, "sentence", run.loss.log_normalizer)
        described["log_normalizer"] = spread.as_dict()
    return described
