"""Windows of varying length hold the whole text once."""

import numpy as np

from models.training.corpus import Batch
from models.training.variable_steps import variable_batches


def _whole(length: int) -> Batch:
    inputs = np.arange(2 * length).reshape(length, 2)
    return Batch(inputs, inputs + 1, np.ones((length, 2), dtype=np.bool_), True)


def test_windows_are_the_text() -> None:
    whole = _whole(5000)
    batches = list(variable_batches(whole, 35, np.random.default_rng(1)))
    for name in ("inputs", "targets", "mask"):
        parts = [getattr(batch, name) for batch in batches]
        assert (np.concatenate(parts) == getattr(whole, name)).all()
    assert [batch.fresh for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_lengths_are_as_in_the_paper() -> None:
    lengths = np.array(
        [len(b.inputs) for b in variable_batches(_whole(400_000), 70, np.random.default_rng(1))]
    )
    around, short = lengths[lengths > 52], lengths[lengths <= 52]
    assert abs(around.mean() - 69.5) < 0.2  # whole steps: rounded down
    assert abs(around.std() - 5) < 0.2
    assert abs(len(short) / len(lengths) - 0.05) < 0.01
    assert abs(short[:-1].mean() - 34.5) < 1


def test_no_window_is_shorter_than_five_but_the_last() -> None:
    lengths = [len(b.inputs) for b in variable_batches(_whole(1001), 4, np.random.default_rng(1))]
    assert min(lengths[:-1]) == 5
