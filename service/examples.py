"""Example requests of the documentation: each is posted by the tests and answered with 200."""

from typing import Any

_FEATURES = [("a man is writing a horse", -203.1, -31.8), ("a man is riding a horse", -203.9, -32.6)]

RESCORE: dict[str, Any] = {
    "weights-inline": {
        "summary": "Two hypotheses, the recogniser's own scores, weights in the request",
        "value": {
            "weights": {"features": {"ac": 1.0, "lm": 9.5, "word_count": -2.0}},
            "options": {"top_k": 2, "contributions": True},
            "lists": [
                {
                    "id": "utt-1",
                    "hypotheses": [
                        {"text": text, "features": {"ac": ac, "lm": lm}} for text, ac, lm in _FEATURES
                    ],
                }
            ],
        },
    },
    "decoder-total": {
        "summary": "No weights: the decoder's total ranks, and a warning says so",
        "value": {
            "lists": [
                {
                    "id": "0",
                    "hypotheses": [
                        {"text": "the house is small", "features": {"total": -4.2}},
                        {"text": "the house is little", "features": {"total": -4.1}},
                    ],
                }
            ],
        },
    },
}

RESCORE_TEXT = {
    "moses": {
        "summary": "A Moses list in, a Moses list out",
        "value": "0 ||| the house is small ||| LM0= -12.1 WordPenalty0= -4 ||| -4.2\n"
        "0 ||| the house is little ||| LM0= -13.0 WordPenalty0= -4 ||| -4.1\n",
    }
}


def with_model(name: str) -> dict[str, Any]:
    """RESCORE and one more that uses a model this service has."""
    value = {
        "models": [name],
        "weights": {"features": {"ac": 1.0, name: 9.5}},
        "lists": [
            {
                "id": "utt-1",
                "hypotheses": [{"text": text, "features": {"ac": ac}} for text, ac, _ in _FEATURES],
            }
        ],
    }
    return RESCORE | {"model": {"summary": f"With the language model {name!r}", "value": value}}


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
    "wer": {
        "summary": "Word error rate",
        "value": {"metric": "wer", "hypotheses": ["a man rides"], "references": ["a man is riding"]},
    },
}
