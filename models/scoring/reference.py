"""The slow, obvious way to score a text: the papers' equations, one word at a time, in float64.

What the engine is held against in tests; never used for scoring.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.vocabulary import Vocabulary


class ReferenceScorer:
    """Every matrix expanded once; then the papers' equations as they stand.

    Eqs. 2-5 and 9 of "Binarized LSTM Language Model" as they stand, and
    Eqs. 12-14 of "Neural Networks Compression for Language Modeling" where there is a projection.
    """

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.config = model.config
        self.matrices = {slot: matrix.materialize().double() for slot, matrix in model.slots()}
        self.output = self.matrices["embedding" if self.config.tied else "output"]
        self.vectors = {name: vector.detach().double() for name, vector in model.vectors()}

    def token_scores(self, text: str, context: Sequence[str] = ()) -> list[float]:
        """ln P of each word of `text` and of ``</s>``, out-of-vocabulary words charged.

        context  the sentences before it, for a model of running text
        """
        ids, _ = self.vocabulary.encode(text)
        before = [
            word for one in context for word in (*self.vocabulary.encode(one)[0], self.vocabulary.end_id)
        ]
        layers = range(self.config.layers)
        h = [torch.zeros(self.config.outputs(n), dtype=torch.float64) for n in layers]
        c = [torch.zeros(self.config.cells(n), dtype=torch.float64) for n in layers]
        scores = []
        for read, wanted in zip(
            [self.vocabulary.start_id, *before, *ids], [*before, *ids, self.vocabulary.end_id], strict=True
        ):
            x = self._linear("embedding_linear", self.matrices["embedding"][read])
            for layer in layers:
                h[layer], c[layer] = self._layer(layer, x, h[layer], c[layer])
                x = h[layer]
            logits = self.output @ self._linear("output_linear", x)
            if "output.bias" in self.vectors:
                logits = logits + self.vectors["output.bias"]
            score = float(torch.log_softmax(logits, 0)[wanted])
            is_oov = wanted == self.vocabulary.unknown_id
            scores.append(score + self.vocabulary.nat_oov_charge * is_oov)
        return scores[len(before) :]

    def score(self, text: str) -> float:
        """ln P of `text` and ``</s>``."""
        return sum(self.token_scores(text))

    def _scaled(self, name: str, product: Tensor) -> Tensor:
        if f"{name}.gamma" in self.vectors:
            product = product * self.vectors[f"{name}.gamma"].exp()
        for bias in (f"{name}.bias", f"{name}.second_bias"):
            product = product + self.vectors.get(bias, torch.zeros_like(product))
        return product

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return self._scaled(name, self.matrices[name] @ x) if name in self.matrices else x

    def _layer(self, layer: int, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """New h and c, segment by segment."""
        new_h, new_c = [], []
        for name, window in zip(self.config.cell_names(layer), self.config.windows(layer), strict=True):
            own = window.outputs
            h_before = h if self.config.projection_size else h[own]
            product = self.matrices[f"{name}.recurrent"] @ h_before
            product = product + self.matrices[f"{name}.input"] @ x[window.inputs]
            i, f, g, o = self._scaled(name, product).chunk(4)
            cell = torch.sigmoid(f) * c[own] + torch.sigmoid(i) * torch.tanh(g)
            out = torch.sigmoid(o) * torch.tanh(cell)
            projection = self.matrices.get(f"{name}.projection")
            new_h.append(out if projection is None else projection @ out)
            new_c.append(cell)
        return torch.cat(new_h), torch.cat(new_c)
