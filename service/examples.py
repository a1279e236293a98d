"""Example requests of the documentation: each is posted by the tests and answered with 200."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

_WEB = Path(__file__).parent / "web"  # the lists of the page's buttons, made up for it
SPEECH: list[dict[str, Any]] = [
    json.loads(line) for line in (_WEB / "speech.jsonl").read_text(encoding="utf-8").split("\n") if line
]
MOSES = (_WEB / "translation.nbest").read_text(encoding="utf-8")


def _without_total(one: dict[str, Any]) -> dict[str, Any]:
    hypotheses = [
        {
            "text": hypothesis["text"],
            "features": {n: v for n, v in hypothesis["features"].items() if n != "total"},
        }
        for hypothesis in one["hypotheses"]
    ]
    return {"id": one["id"], "hypotheses": hypotheses}


RESCORE: dict[str, Any] = {
    "weights-inline": {
        "summary": "The recogniser's own scores, weights in the request",
        "value": {
            "weights": {"features": {"ac": 1.0, "lm": 1.2, "word_count": 0.5}},
            "options": {"top_k": 2, "contributions": True},
            "lists": [_without_total(SPEECH[0])],
        },
    },
    "decoder-total": {
        "summary": "No weights: the decoder's total ranks, and a warning says so",
        "value": {"lists": SPEECH[:1]},
    },
}

RESCORE_TEXT: dict[str, Any] = {
    "moses": {"summary": "A Moses list in, a Moses list out: ranked by the decoder's total", "value": MOSES}
}


def with_model(name: str) -> dict[str, Any]:
    """RESCORE, after one that uses a model this service has."""
    value = {
        "models": [name],
        "weights": {"features": {"ac": 1.0, "lm": 1.0, name: 1.0}},
        "lists": [_without_total(one) for one in SPEECH[:2]],
    }
    return {"model": {"summary": f"With the language model {name!r}", "value": value}} | RESCORE


def text_with_model(name: str) -> dict[str, Any]:
    """A Moses list, scored by a model this service has; `x-query` is what follows the path."""
    summary = f"A Moses list in, a Moses list out: the decoder's total and {name!r}, untuned"
    return {"moses": {"summary": summary, "x-query": f"models={quote(name)}", "value": MOSES}}


def score(name: str) -> dict[str, Any]:
    """Requests to /v1/score."""
    value = {"model": name, "texts": ["a man is riding a horse", ""], "tokens": True}
    return {"tokens": {"summary": "Two texts, one of them empty, with their tokens", "value": value}}


EVALUATE: dict[str, Any] = {
    "bleu": {
        "summary": "BLEU, several references for one segment",
        "value": {
            "metric": "bleu",
            "hypotheses": ["the house is small", "a man rides a horse"],
            "references": ["the house is small", ["a man is riding a horse", "a man rides a horse"]],
        },
    },
    "sum": {
        "summary": "A sum of metrics: BLEU less half of TER",
        "value": {
            "metric": "bleu-0.5*ter",
            "hypotheses": ["the house is small", "a man rides a horse"],
            "references": ["the house is small", "a man is riding a horse"],
        },
    },
    "wer": {
        "summary": "Word error rate",
        "value": {"metric": "wer", "hypotheses": ["a man rides"], "references": ["a man is riding"]},
    },
}


def tune(name: str | None) -> dict[str, Any]:
    """Requests to /v1/tune, with a model where there is one."""
    lists = [{**_without_total(one), "references": one["references"]} for one in SPEECH]
    value: dict[str, Any] = {"metric": "wer", "restarts": 5, "lists": lists}
    summary = "Word error rate, five descents"
    if name is None:
        return {"wer": {"summary": summary, "value": value}}
    return {"wer": {"summary": f"{summary}, with {name!r}", "value": {"models": [name], **value}}}


WEIGHTS: dict[str, Any] = {
    "by-hand": {
        "summary": "Weights written by hand",
        "value": {"format": "nbest-weights/1", "features": {"ac": 1.0, "lm": 1.2, "word_count": 0.5}},
    }
}
