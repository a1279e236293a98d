"""Metrics by name."""

from nbest.errors import ConfigError, NotFoundError, shorten
from rescoring.metrics.base import Metric, References, Report
from rescoring.metrics.bleu import TOKENIZERS, Bleu
from rescoring.metrics.chrf import Chrf
from rescoring.metrics.mix import Mix, parse_mix
from rescoring.metrics.ter import Ter
from rescoring.metrics.wer import Cer, Wer

METRICS = ("bleu", "chrf", "ter", "wer", "cer")

__all__ = [
    "METRICS",
    "TOKENIZERS",
    "Bleu",
    "Cer",
    "Chrf",
    "Metric",
    "Mix",
    "References",
    "Report",
    "Ter",
    "Wer",
    "get_metric",
]


def get_metric(name: str, tokenize: str = "none", lowercase: bool = False, jobs: int = 1) -> Metric:
    """The metric called `name`, or a weighted sum of several: ``bleu-0.5*ter``.

    `tokenize` is BLEU's, `lowercase` BLEU's and chrF's. ``none`` is the default because decoders' lists are
    tokenised; for plain text ask for ``13a``. `jobs` processes count where that takes long (TER).

    Raises NotFoundError naming the metrics there are, ConfigError where an option is not the metric's or a
    sum cannot be read.
    """
    if any(sign in name for sign in "+-*"):
        terms = parse_mix(name)
        names = {one for _, one in terms}
        if (tokenize != "none" and "bleu" not in names) or (lowercase and not names & {"bleu", "chrf"}):
            raise _not_its_option(name)
        takes = {"bleu": (tokenize, lowercase), "chrf": ("none", lowercase)}
        return Mix(
            [(weight, get_metric(one, *takes.get(one, ("none", False)), jobs)) for weight, one in terms]
        )
    if name == "bleu":
        return Bleu(tokenize, lowercase)
    if name not in METRICS:
        expected = f"one of {', '.join(METRICS)}, or a sum such as bleu-0.5*ter"
        raise NotFoundError("no such metric", expected=expected, got=shorten(name))
    if tokenize != "none" or (lowercase and name != "chrf"):
        raise _not_its_option(name)
    if name == "chrf":
        return Chrf(lowercase)
    if name == "ter":
        return Ter(jobs)
    return Wer() if name == "wer" else Cer()


def _not_its_option(name: str) -> ConfigError:
    return ConfigError(
        "tokenize is for bleu, lowercase for bleu and chrf", expected="neither", got=f"metric {name}"
    )
