"""Perplexity and the spread of the normaliser against one word at a time."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.language_model import LanguageModel
from models.scoring.reference import ReferenceScorer
from models.training.corpus import Corpus
from models.training.evaluation import normalizer_spread, perplexity
from models.vocabulary import Vocabulary

Make = Callable[..., LanguageModel]
LINES = ["a man walks", "the dog sees the unknown street", "a", "the big red house ."] * 3


@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "slim", "low-rank", "sparse"])
def test_sentence_state_is_the_sum_of_reference_scores(
    make_model: Make, vocabulary: Vocabulary, system: str
) -> None:
    model = make_model(system)
    corpus = Corpus.from_lines(vocabulary, LINES)
    found = perplexity(model, vocabulary, corpus, "sentence", tokens_per_batch=16)
    reference = ReferenceScorer(model, vocabulary)
    charged = -sum(reference.score(line) for line in LINES)
    assert found.predictions == sum(len(line.split()) + 1 for line in LINES)
    assert found.oov == 3
    assert found.oov_spread == pytest.approx(math.exp(charged / found.predictions), rel=1e-4)
    plain = charged + found.oov * vocabulary.nat_oov_charge
    assert found.value == pytest.approx(math.exp(plain / found.predictions), rel=1e-4)
    known = 0.0
    for line in LINES:
        tokens = [*line.split(), "</s>"]
        scores = zip(tokens, reference.token_scores(line), strict=True)
        known -= sum(score for token, score in scores if token != "unknown")
    assert found.known == pytest.approx(math.exp(known / (found.predictions - 3)), rel=1e-4)


def test_stream_state_is_one_text(make_model: Make, vocabulary: Vocabulary) -> None:
    """The same numbers as one window over everything; columns start cold and drop the remainder."""
    model = make_model("lstm")
    corpus = Corpus.from_lines(vocabulary, LINES)
    ids = [word for line in LINES for word in [*vocabulary.encode(line)[0], vocabulary.end_id]]
    inputs = torch.tensor([vocabulary.end_id, *ids[:-1]])[:, None]
    with torch.no_grad():
        hidden, _ = model(inputs, model.start_state(1))
        logits = model.logits(model.prepare_output(hidden[:, 0]), slice(0, 77))
        nats = float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum"))
    whole = perplexity(model, vocabulary, corpus, "stream")
    assert whole.predictions == len(ids)
    assert whole.nats == pytest.approx(nats, rel=1e-5)
    columns = perplexity(model, vocabulary, corpus, "stream", columns=4)
    assert columns.predictions == len(ids) // 4 * 4
    assert columns.value == pytest.approx(whole.value, rel=0.2)
    assert columns.value != whole.value


def test_spread_of_the_normaliser(make_model: Make, vocabulary: Vocabulary) -> None:
    model = make_model("lstm", output_bias=True)
    corpus = Corpus.from_lines(vocabulary, LINES)
    values = []
    for line in LINES:
        ids, _ = vocabulary.encode(line)
        state = model.start_state(1)
        for word in [vocabulary.start_id, *ids]:
            with torch.no_grad():
                hidden, state = model.step(torch.tensor([word]), state)
                logits = model.logits(model.prepare_output(hidden), slice(0, 77))
            values.append(float(logits.logsumexp(1)) - 4.0)
    spread = normalizer_spread(model, vocabulary, corpus, "sentence", 4.0)
    assert spread.constant == 4.0
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-4)
    assert spread.standard_deviation == pytest.approx(np.std(values), abs=1e-4)
    assert spread.mean_absolute == pytest.approx(np.abs(values).mean(), abs=1e-4)
    assert spread.percentile_99_9 == pytest.approx(np.percentile(np.abs(values), 99.9), abs=1e-4)
