"""The slow, obvious way to score a text: the papers' equations, one word at a time, in float64.

What the engine is held against in tests; never used for scoring.
"""

import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.vocabulary import Vocabulary


class ReferenceScorer:
    """Every matrix expanded once; then Eqs. 2-5 and 9 of "Binarized LSTM Language Model" as they stand."""

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.config = model.config
        self.matrices = {slot: matrix.materialize().double() for slot, matrix in model.slots()}
        self.vectors = {name: vector.detach().double() for name, vector in model.vectors()}

    def token_scores(self, text: str) -> list[float]:
        """ln P of each word of `text` and of ``</s>``, out-of-vocabulary words charged."""
        ids, _ = self.vocabulary.encode(text)
        h = [torch.zeros(self.config.hidden_size, dtype=torch.float64) for _ in range(self.config.layers)]
        c = [x.clone() for x in h]
        scores = []
        for read, wanted in zip(
            [self.vocabulary.start_id, *ids], [*ids, self.vocabulary.end_id], strict=True
        ):
            x = self._linear("embedding_linear", self.matrices["embedding"][read])
            for layer in range(self.config.layers):
                h[layer], c[layer] = self._cell(f"layer{layer}", x, h[layer], c[layer])
                x = h[layer]
            logits = self.matrices["output"] @ self._linear("output_linear", x)
            if "output.bias" in self.vectors:
                logits = logits + self.vectors["output.bias"]
            score = float(torch.log_softmax(logits, 0)[wanted])
            is_oov = wanted == self.vocabulary.unknown_id
            scores.append(score + self.vocabulary.nat_oov_charge * is_oov)
        return scores

    def score(self, text: str) -> float:
        """ln P of `text` and ``</s>``."""
        return sum(self.token_scores(text))

    def _scaled(self, name: str, product: Tensor) -> Tensor:
        if f"{name}.gamma" in self.vectors:
            product = product * self.vectors[f"{name}.gamma"].exp()
        return product + self.vectors[f"{name}.bias"]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return self._scaled(name, self.matrices[name] @ x) if name in self.matrices else x

    def _cell(self, name: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        product = self.matrices[f"{name}.recurrent"] @ h + self.matrices[f"{name}.input"] @ x
        i, f, g, o = self._scaled(name, product).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
