"""Windows of running text whose lengths vary, so that not the same words always stand at a window's edge.

Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", Section 4.1: a normal
distribution of standard deviation 5 around `steps` with probability 0.95, else around half of it; never below
5, as in their program. The learning rate of a window is in proportion to its length.
"""

from collections.abc import Iterator

import numpy as np

from models.training.corpus import Batch

SHORTEST, DEVIATION, FULL_SHARE = 5, 5.0, 0.95


def variable_batches(whole: Batch, steps: int, random: np.random.Generator) -> Iterator[Batch]:
    """`whole`, one batch of all the running text, in windows around `steps` long; every token is in one."""
    start, length = 0, len(whole.inputs)
    while start < length:
        mean = steps if random.random() < FULL_SHARE else steps / 2
        stop = start + max(SHORTEST, int(random.normal(mean, DEVIATION)))
        part = slice(start, stop)
        yield Batch(whole.inputs[part], whole.targets[part], whole.mask[part], whole.fresh and start == 0)
        start = stop
