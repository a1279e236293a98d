"""Batches hold every token once, in both orders, and depend on the seed alone."""

import numpy as np
import pytest

from models.training.corpus import Batch, Corpus, sentence_batches, stream_batches
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError

LINES = [
    "a man walks",
    "the dog",
    "",
    "a",
    "the man sees a dog in the street",
    "red",
    "a big red house .",
] * 3


@pytest.fixture
def corpus(vocabulary: Vocabulary) -> Corpus:
    return Corpus.from_lines(vocabulary, LINES)


def _sentences(batches: list[Batch]) -> list[list[int]]:
    """Target sequences, windows put together again."""
    found: list[list[int]] = []
    for batch in batches:
        columns = [batch.targets[batch.mask[:, k], k].tolist() for k in range(batch.targets.shape[1])]
        if batch.fresh:
            found += columns
        else:
            for sentence, more in zip(found[-len(columns) :], columns, strict=True):
                sentence += more
    return found


@pytest.mark.parametrize("longest", [2, 80])
@pytest.mark.parametrize("seed", [None, 5])
def test_sentence_batches_hold_every_sentence_once(
    corpus: Corpus, vocabulary: Vocabulary, longest: int, seed: int | None
) -> None:
    random = None if seed is None else np.random.default_rng(seed)
    batches = list(sentence_batches(corpus, vocabulary, tokens_per_batch=12, longest=longest, random=random))
    wanted = sorted([*vocabulary.encode(line)[0], vocabulary.end_id] for line in LINES if line)
    assert sorted(_sentences(batches)) == wanted
    assert sum(int(batch.mask.sum()) for batch in batches) == corpus.predictions
    for batch in batches:
        assert batch.targets.size <= 12 or batch.targets.shape[1] == 1
        if batch.fresh:
            assert (batch.inputs[0] == vocabulary.start_id).all()
        inside = batch.mask[1:]
        assert (batch.inputs[1:][inside] == batch.targets[:-1][inside]).all()


def test_stream_is_the_running_text(corpus: Corpus, vocabulary: Vocabulary) -> None:
    batches = list(stream_batches(corpus, vocabulary, columns=1, steps=5, random=None))
    text = [word for line in LINES if line for word in [*vocabulary.encode(line)[0], vocabulary.end_id]]
    assert np.concatenate([batch.targets[:, 0] for batch in batches]).tolist() == text
    inputs = np.concatenate([batch.inputs[:, 0] for batch in batches]).tolist()
    assert inputs == [vocabulary.end_id, *text[:-1]]
    assert [batch.fresh for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_stream_in_columns_carries_on_where_it_stopped(corpus: Corpus, vocabulary: Vocabulary) -> None:
    batches = list(stream_batches(corpus, vocabulary, columns=4, steps=3, random=np.random.default_rng(1)))
    targets = np.concatenate([batch.targets for batch in batches])
    inputs = np.concatenate([batch.inputs for batch in batches])
    assert targets.shape == (corpus.predictions // 4, 4)
    assert (inputs[1:] == targets[:-1]).all()


def test_order_depends_on_the_seed_alone(corpus: Corpus, vocabulary: Vocabulary) -> None:
    def run(seed: int) -> list[list[int]]:
        random = np.random.default_rng(seed)
        return _sentences(
            list(sentence_batches(corpus, vocabulary, tokens_per_batch=12, longest=80, random=random))
        )

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_no_words(vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match="no word in the text"):
        Corpus.from_lines(vocabulary, ["", " "])
