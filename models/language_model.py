"""Embedding, LSTM layers, output: one model for every system; the state is an explicit value."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.config import LanguageModelConfig, MatrixSpec, build_matrix
from models.layers.affine import Affine
from models.layers.lstm import LSTMLayer, State
from models.matrices.base import Matrix, Prepared

MatrixMaker = Callable[[str, MatrixSpec, int, int], Matrix]  # slot, what it holds, rows, columns


def _fresh(_slot: str, spec: MatrixSpec, out_features: int, in_features: int) -> Matrix:
    return build_matrix(spec, out_features, in_features)


class Dropout:
    """Where training drops: on the way into the first LSTM layer, and after each LSTM layer."""

    def __init__(self, input_rate: float = 0.0, rate: float = 0.0) -> None:
        self.input_rate = input_rate
        self.rate = rate

    def input(self, x: Tensor) -> Tensor:
        """The embedding's output."""
        return nn.functional.dropout(x, self.input_rate) if self.input_rate else x

    def between(self, x: Tensor) -> Tensor:
        """An LSTM layer's output."""
        return nn.functional.dropout(x, self.rate) if self.rate else x


class LanguageModel(nn.Module):
    """P(next word | words so far); dims: V vocabulary, E embedding, H hidden, L layers.

    `make` gives the matrix of each slot: fresh ones unless said otherwise.
    """

    def __init__(self, config: LanguageModelConfig, make: MatrixMaker = _fresh) -> None:
        super().__init__()
        self.config = config
        v, e, h = config.vocabulary_size, config.embedding_size, config.hidden_size

        def linear(slot: str, spec: MatrixSpec | None, size: int) -> Affine | None:
            if spec is None:
                return None
            return Affine([make(slot, spec, size, size)], gain=config.linear_gain, bias=True)

        def lstm_layer(number: int, width: int) -> LSTMLayer:
            recurrent = make(f"layer{number}.recurrent", config.gates, 4 * h, h)
            inputs = make(f"layer{number}.input", config.gates, 4 * h, width)
            return LSTMLayer(Affine([recurrent, inputs], gain=config.gates_gain, bias=True), h)

        self.embedding = make("embedding", config.embedding, v, e)
        self.embedding_linear = linear("embedding_linear", config.embedding_linear, e)
        self.layers = nn.ModuleList(
            lstm_layer(number, e if number == 0 else h) for number in range(config.layers)
        )
        self.output_linear = linear("output_linear", config.output_linear, h)
        self.output = make("output", config.output, v, h)
        self.output_bias = nn.Parameter(torch.zeros(v)) if config.output_bias else None

    def slots(self) -> Iterator[tuple[str, Matrix]]:
        """Every matrix with the name of its slot, in a fixed order."""
        yield "embedding", self.embedding
        for affine_name, affine in self.affines():
            names = ("recurrent", "input") if affine_name.startswith("layer") else ("",)
            for name, matrix in zip(names, affine.matrices, strict=True):
                assert isinstance(matrix, Matrix)
                yield f"{affine_name}.{name}".rstrip("."), matrix
        yield "output", self.output

    def affines(self) -> Iterator[tuple[str, Affine]]:
        """Every affine map with its name, in a fixed order."""
        if self.embedding_linear is not None:
            yield "embedding_linear", self.embedding_linear
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, LSTMLayer)
            yield f"layer{number}", layer.gates
        if self.output_linear is not None:
            yield "output_linear", self.output_linear

    def vectors(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every gamma and bias with its name, in a fixed order."""
        for name, affine in self.affines():
            for kind, vector in (("gamma", affine.gamma), ("bias", affine.bias)):
                if vector is not None:
                    yield f"{name}.{kind}", vector
        if self.output_bias is not None:
            yield "output.bias", self.output_bias

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return next(self.vectors())[1].device

    def start_state(self, count: int) -> State:
        """The state before any word, for `count` hypotheses: zeros (L, count, H)."""
        shape = (self.config.layers, count, self.config.hidden_size)
        return State(torch.zeros(shape, device=self.device), torch.zeros(shape, device=self.device))

    def embed(self, ids: Tensor) -> Tensor:
        """(..., E) inputs of the first LSTM layer for word ids (...)."""
        x = self.embedding.rows(ids)
        return x if self.embedding_linear is None else self.embedding_linear(x)

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one word each: ids (N,), state of N -> (N, H) outputs of the last layer, new state."""
        x = self.embed(ids)
        hidden, cell = [], []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, LSTMLayer)
            x, c = layer.step(x, state.hidden[number], state.cell[number])
            hidden.append(x)
            cell.append(c)
        return x, State(torch.stack(hidden), torch.stack(cell))

    def forward(self, ids: Tensor, state: State, dropout: Dropout | None = None) -> tuple[Tensor, State]:
        """Read T words each: ids (T, B) -> (T, B, H) outputs of the last layer, new state."""
        drop = dropout or Dropout()
        x = drop.input(self.embed(ids))
        hidden, cell = [], []
        for number, layer in enumerate(self.layers):
            x, h, c = layer(x, state.hidden[number], state.cell[number])
            x = drop.between(x)
            hidden.append(h)
            cell.append(c)
        return x, State(torch.stack(hidden), torch.stack(cell))

    def before_output(self, hidden: Tensor) -> Tensor:
        """(N, H) what is multiplied with the output matrix, for hidden (N, H)."""
        return hidden if self.output_linear is None else self.output_linear(hidden)

    def prepare_output(self, hidden: Tensor) -> Prepared:
        """What the output matrix makes of hidden (N, H), once for all words."""
        return self.output.prepare(self.before_output(hidden))

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|) unnormalised log-probabilities of a range of words."""
        logits = self.output.logits(prepared, rows)
        return logits if self.output_bias is None else logits + self.output_bias[rows]

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,) unnormalised log-probabilities of word ids[p] after input positions[p]."""
        logits = self.output.pairs(prepared, positions, ids)
        return logits if self.output_bias is None else logits + self.output_bias[ids]

    def after_step(self) -> None:
        """Let every matrix mend itself after an optimiser step."""
        for _, matrix in self.slots():
            matrix.after_step()

    def packed(self) -> "LanguageModel":
        """A copy in scoring form: every matrix packed; dense matrices are shared with this model."""
        own = dict(self.slots())
        model = LanguageModel(self.config, lambda slot, _spec, _out, _in: own[slot].packed())
        model.set_vectors(dict(self.vectors()))
        return model.eval()

    def set_vectors(self, values: dict[str, Tensor] | dict[str, nn.Parameter]) -> None:
        """Copy in every gamma and bias by name."""
        with torch.no_grad():
            for name, vector in self.vectors():
                vector.copy_(values[name])
