"""Metrics by name."""

from nbest.errors import ConfigError, NotFoundError
from rescoring.metrics.base import Metric, References, Report
from rescoring.metrics.bleu import TOKENIZERS, Bleu
from rescoring.metrics.wer import Wer

METRICS = ("bleu", "wer")

__all__ = ["METRICS", "TOKENIZERS", "Bleu", "Metric", "References", "Report", "Wer", "get_metric"]


def get_metric(name: str, tokenize: str = "none", lowercase: bool = False) -> Metric:
    """The metric called `name`; `tokenize` and `lowercase` are BLEU's.

    ``none`` is the default because decoders' lists are tokenised; for plain text ask for ``13a``.
    Raises NotFoundError naming the metrics there are, ConfigError where an option is not the metric's.
    """
    if name == "bleu":
        return Bleu(tokenize, lowercase)
    if name == "wer":
        if tokenize != "none" or lowercase:
            raise ConfigError("tokenize and lowercase are for bleu", expected="neither", got=f"metric {name}")
        return Wer()
    raise NotFoundError("no such metric", expected=f"one of {', '.join(METRICS)}", got=name)
