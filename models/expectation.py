"""How often a model expects each word: the mean of its next-word distributions over text that it draws.

What a word's numbers lose when a model is made smaller costs, to the second order, in proportion to this: so
frequent words can be kept best without the training text at hand.
"""

import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.layers.lstm import State
from models.vocabulary import Vocabulary

LEAST = 1e-9  # of a word that is never expected: ties among such words are decided by their numbers


def expected_words(
    model: LanguageModel, vocabulary: Vocabulary, *, texts: int = 256, steps: int = 40, seed: int = 1
) -> Tensor:
    """(V,) float64 mean probability of each word, over `texts` texts of `steps` tokens; sums to about one.

    A sentence that ends is followed by a new one, from the start state.
    ``<s>``, which is read as often as ``</s>`` and never expected, has its number.
    """
    random = torch.Generator(model.device).manual_seed(seed)
    total = torch.zeros(len(vocabulary), dtype=torch.float64, device=model.device)
    with torch.inference_mode():
        words = torch.full((texts,), vocabulary.start_id, device=model.device)
        state = model.start_state(texts)
        for _ in range(steps):
            hidden, state = model.step(words, state)
            logits = model.logits(model.prepare_output(hidden), slice(0, len(vocabulary)))
            probabilities = torch.softmax(logits, 1)  # (texts, V)
            total += probabilities.sum(0, dtype=torch.float64)
            words = torch.multinomial(probabilities, 1, generator=random)[:, 0]
            goes_on = words != vocabulary.end_id
            state = _kept(state, goes_on)
            words = torch.where(goes_on, words, vocabulary.start_id)
    mean = (total / (texts * steps)).clamp_min_(LEAST).cpu()
    mean[vocabulary.start_id] = mean[vocabulary.end_id]
    return mean


def _kept(state: State, goes_on: Tensor) -> State:
    """The start state where a sentence has ended."""
    keep = goes_on[:, None]
    return State(tuple(h * keep for h in state.hidden), tuple(c * keep for c in state.cell))
