"""Embedding, LSTM layers, output: one model for every system; the state is an explicit value."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.config import LanguageModelConfig, Slot
from models.dropout import NO_DROPOUT, Dropout
from models.layers.affine import Affine
from models.layers.lstm import LSTMLayer, RecurrentLayer, State
from models.layers.parallel_lstm import ParallelLSTM
from models.matrices.base import Matrix, Prepared

MatrixMaker = Callable[[Slot], Matrix]


def _fresh(slot: Slot) -> Matrix:
    return slot.spec.build(slot.out_features, slot.in_features)


class LanguageModel(nn.Module):
    """P(next word | words so far); dims: V vocabulary, E embedding, H cells, O a layer's outputs, L layers.

    `make` gives the matrix of each slot: fresh ones unless said otherwise.
    """

    def __init__(self, config: LanguageModelConfig, make: MatrixMaker = _fresh) -> None:
        super().__init__()
        self.config = config
        self._matrices = {slot.name: make(slot) for slot in config.slots()}
        self._affines: dict[str, Affine] = {}
        self.embedding = self._matrices["embedding"]
        self.embedding_linear = self._linear("embedding_linear")
        self.layers = nn.ModuleList(self._layer(number) for number in range(config.layers))
        self.output_linear = self._linear("output_linear")
        self.output = self.embedding if config.tied else self._matrices["output"]
        v = config.vocabulary_size
        self.output_bias = nn.Parameter(torch.zeros(v)) if config.output_bias else None

    def _linear(self, name: str) -> Affine | None:
        if name not in self._matrices:
            return None
        return self._affine(name, [self._matrices[name]], gain=self.config.linear_gain)

    def _affine(self, name: str, matrices: list[Matrix], *, gain: bool, biases: int = 1) -> Affine:
        self._affines[name] = Affine(matrices, gain=gain, biases=biases)
        return self._affines[name]

    def _layer(self, number: int) -> RecurrentLayer:
        config, windows = self.config, self.config.windows(number)
        parts = []
        for name, window in zip(config.cell_names(number), windows, strict=True):
            matrices = [self._matrices[f"{name}.recurrent"], self._matrices[f"{name}.input"]]
            gates = self._affine(name, matrices, gain=config.gates_gain, biases=config.gate_biases)
            parts.append(LSTMLayer(gates, window.cells, self._matrices.get(f"{name}.projection")))
        return parts[0] if len(parts) == 1 else ParallelLSTM(parts, windows)

    def slots(self) -> Iterator[tuple[str, Matrix]]:
        """Every matrix with the name of its slot, in the order of the configuration."""
        yield from self._matrices.items()

    def vectors(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every gamma and bias with its name, in a fixed order."""
        for name, affine in self._affines.items():
            for kind, vector in affine.vectors():
                yield f"{name}.{kind}", vector
        if self.output_bias is not None:
            yield "output.bias", self.output_bias

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return next(self.vectors())[1].device

    def start_state(self, count: int) -> State:
        """The state before any word, for `count` hypotheses: zeros."""
        config, layers = self.config, range(self.config.layers)
        return State(
            tuple(torch.zeros(count, config.outputs(n), device=self.device) for n in layers),
            tuple(torch.zeros(count, config.cells(n), device=self.device) for n in layers),
        )

    def embed(self, ids: Tensor) -> Tensor:
        """(..., E) inputs of the first LSTM layer for word ids (...)."""
        x = self.embedding.rows(ids)
        return x if self.embedding_linear is None else self.embedding_linear(x)

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one word each: ids (N,), state of N -> (N, O) outputs of the last layer, new state."""
        x = self.embed(ids)
        hidden, cell = [], []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, RecurrentLayer)
            x, c = layer.step(x, state.hidden[number], state.cell[number])
            hidden.append(x)
            cell.append(c)
        return x, State(tuple(hidden), tuple(cell))

    def forward(self, ids: Tensor, state: State, dropout: Dropout = NO_DROPOUT) -> tuple[Tensor, State]:
        """Read T words each: ids (T, B) -> (T, B, O) the last layer's outputs, none dropped; new state."""
        x = self.embedding.rows(ids)
        x = dropout.drop_words(x, ids, self.config.vocabulary_size)
        x = x if self.embedding_linear is None else self.embedding_linear(x)
        x = dropout.drop(x, dropout.inputs)
        hidden, cell = [], []
        for number, layer in enumerate(self.layers):
            x = dropout.drop(x, dropout.hidden) if number else x
            after = layer(x, state.hidden[number], state.cell[number], dropout.recurrent)
            x, h, c = (tensor.float() for tensor in after)  # as they are, but under autocast
            hidden.append(h)
            cell.append(c)
        return x, State(tuple(hidden), tuple(cell))

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
        return self.with_each(lambda matrix: matrix.packed()).eval()

    def trainable(self) -> "LanguageModel":
        """A copy in training form, of a model in scoring form; raises ConfigError where a matrix has none."""
        return self.with_each(lambda matrix: matrix.trainable())

    def with_each(self, change: Callable[[Matrix], Matrix]) -> "LanguageModel":
        """A copy whose every matrix is what `change` gives for this model's, its own vectors beside them."""
        own = dict(self.slots())
        model = LanguageModel(self.config, lambda slot: change(own[slot.name]))
        model.set_vectors(dict(self.vectors()))
        return model

    def set_vectors(self, values: dict[str, Tensor] | dict[str, nn.Parameter]) -> None:
        """Copy in every gamma and bias by name."""
        with torch.no_grad():
            for name, vector in self.vectors():
                vector.copy_(values[name])
