"""The engine of the compiled kernels (distribution ``nbest-native``): the same scores, several times as fast.

What the kernels have no form for (a tensor train, parallel cells) torch does, layer by layer.
"""

import importlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel
from models.layers.affine import Affine
from models.layers.lstm import LSTMLayer, RecurrentLayer, State
from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.slim import SlimMatrix
from models.scoring.byte_output import byte_output, log_normalizers
from models.scoring.engine import Engine, Ids, Precision, TorchWalk, Walk, keep
from models.scoring.native_forms import (
    Products,
    exact_form,
    form_16_bits,
    form_two_bytes,
    linear_form,
    rows_form,
)
from models.scoring.sketch import LEAST_SPOKEN, spoken
from nbest.errors import ConfigError

INTERFACE = 7  # of the kernels that this engine calls
TABLE_BYTES = 32 * 1024 * 1024  # of a walk's remembered products of words with the first layer's input matrix
EXPECTED = 512  # words at most whose products are made before they are read
EXPECTED_ROOM = 4  # times as many must have room, where the table may become full and forget them
PROBE_TOLERANCE = 3.5e-5  # nats; a third of what is called exact
AGAIN = 0.01  # share of the sum from which a word is computed again, in floats
# Shares of the sum below which two-byte rows are read as bytes: the first that will do.
COARSE = (3e-4, 1e-4, 0.0)


def kernels() -> Any:
    """The module ``nbest_native``, None where there is none; raises ConfigError for another version's."""
    try:
        found = importlib.import_module("nbest_native")
    except ImportError:
        return None
    if getattr(found, "INTERFACE", 1) != INTERFACE:
        raise ConfigError(
            "the compiled kernels belong to another version of nbest",
            where=str(found.__file__),
            expected=f"interface {INTERFACE}: `make native` in a checkout, or `pip install -U nbest-native`",
            got=f"interface {getattr(found, 'INTERFACE', 1)}",
        )
    return found


class NativeEngine(Engine):
    """Compiled kernels where there are some for a layer or the output, else torch.

    precision  `fp32`: within 1e-4 nats a word of 64-bit scores. The normaliser adds up products of two-byte
               numbers where the CPU has them and the model allows it, reads rows of little weight as
               bytes, and computes again in floats what has a hundredth of the sum. `int8`: it adds up
               products of bytes, where that is near enough, and steps are of 16-bit numbers
    isa        which of the kernel sets that the CPU runs; the fastest unless given
    """

    output_rows = 2048

    def __init__(
        self,
        model: LanguageModel,
        constant: float | None = None,
        *,
        precision: Precision = "fp32",
        isa: str | None = None,
    ) -> None:
        found = kernels()
        if found is None or model.device.type != "cpu":
            raise ConfigError("the compiled kernels need the distribution nbest-native, and run on the CPU")
        self.model = model
        self.constant = constant
        self.kernels = found
        self.int8 = precision == "int8" and found.has_int8(isa)
        self.isa = isa or found.isas()[0]
        self.name = f"native {self.isa}"
        self.output = self._output(model)
        self.layers = [self._cells(layer, first=not number) for number, layer in enumerate(model.layers)]
        self.projections = [self._projection(layer) for layer in model.layers]
        first, words, last = model.layers[0], model.embedding_linear, model.output_linear
        self.embedding = rows_form(found, model.embedding)
        self.embedding_linear = None if words is None else self._linear(words, 0)
        self.word_products = self._linear(first.gates, 1) if isinstance(first, LSTMLayer) else None
        self.before_output = None if last is None else self._linear(last, 0)

    def walk(self) -> "NativeWalk":
        """A new walk."""
        return NativeWalk(self)

    def _linear(self, affine: Affine, number: int) -> Products:
        matrix = cast("Matrix", affine.matrices[number])
        return linear_form(self.kernels, matrix, affine, int16=self.int8, isa=self.isa)

    def _projection(self, layer: Any) -> Products | None:
        if not isinstance(layer, LSTMLayer) or layer.projection is None:
            return None
        return linear_form(self.kernels, layer.projection, int16=self.int8, isa=self.isa)

    def _cells(self, layer: Any, *, first: bool) -> Any:
        """The layer's kernel, or None: of the first layer without the inputs' matrix."""
        if not isinstance(layer, LSTMLayer):
            return None
        matrices = [cast("Matrix", m) for m in layer.gates.matrices][: 1 if first else 2]
        whole = self.int8 and not any(isinstance(matrix, SlimMatrix) for matrix in matrices)
        form = form_16_bits if whole else exact_form
        forms = [form(self.kernels, matrix) for matrix in matrices]
        if not all(forms):
            return None
        gamma = layer.gates.gamma
        scale = None if gamma is None else gamma.detach().exp().numpy()
        # Exact steps lay bits out anew each time: laid out for good they would take 32 times the room.
        stay = whole or not all(isinstance(matrix, PackedBinaryMatrix) for matrix in matrices)
        return self.kernels.Cells(forms, scale=scale, int16=whole, laid_out=stay, isa=self.isa)

    def _output(self, model: LanguageModel) -> Any:
        """The output's kernel, or None."""
        exact = exact_form(self.kernels, model.output)
        if exact is None:
            return None
        bias = None if model.output_bias is None else model.output_bias.detach().numpy()
        in_floats = self.kernels.Output(exact, bias, isa=self.isa)
        if self.constant is not None or not self.kernels.has_int8(self.isa):
            return in_floats
        in_bytes = byte_output(self.kernels, model, bias, isa=self.isa) if self.int8 else None
        if in_bytes is not None or isinstance(model.output, SlimMatrix):
            return in_bytes or in_floats
        form, low = exact, None
        if isinstance(model.output, DenseMatrix):
            form, low = form_two_bytes(self.kernels, model.output.weight.detach().numpy())
        x = spoken(model, LEAST_SPOKEN).flatten(0, 1).numpy()
        expected = log_normalizers(in_floats, x)
        kind: dict[str, Any] = {"products": "two_bytes", "low": low, "exact": exact, "again": AGAIN}
        for coarse in COARSE if low else (0.0,):
            sieve = self.kernels.Output(form, bias, **kind, coarse=coarse, isa=self.isa)
            if np.abs(log_normalizers(sieve, x) - expected).max() < PROBE_TOLERANCE:
                return sieve
        return in_floats


class NativeWalk(Walk):
    """A walk of the native engine; what the first layer makes of a word is remembered."""

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine
        self.model = engine.model
        self.plain = TorchWalk(engine.model, engine.constant)
        self.threads = torch.get_num_threads()
        self.table = _WordTable(engine)

    def expect(self, words: Ids) -> None:
        """As every walk: a matrix is read once for many words, not at each step for a few."""
        if self.engine.layers[0] is not None:
            self.table.expect(words, self.threads)

    def step(self, words: Ids, above: Ids, kept: Ids, states: State) -> Tensor:
        """As every walk."""
        x: Tensor | None = None
        for number, layer in enumerate(self.model.layers):
            assert isinstance(layer, RecurrentLayer)
            h, c = states.hidden[number], states.cell[number]
            kernel = self.engine.layers[number]
            if kernel is None:
                below = self.model.embed(torch.from_numpy(words)) if x is None else x
                rows = torch.from_numpy(above)
                x, after = layer.step(below, h[rows], c[rows])
                keep((x, after), kept, (h, c), torch.from_numpy)
            else:
                assert isinstance(layer, LSTMLayer)
                x = self._run(number, layer, words, x, above, kept, h, c)
        assert x is not None
        return x

    def _run(
        self,
        number: int,
        layer: LSTMLayer,
        words: Ids,
        x: Tensor | None,
        above: Ids,
        kept: Ids,
        h: Tensor,
        c: Tensor,
    ) -> Tensor:
        """One layer by its kernel: its outputs; h (any, R) and c (any, H) hold the states."""
        count, cells = len(words), layer.cells
        inputs, index = [h.numpy()], [above]
        if x is None:
            table, rows = self.table.of(words, self.threads)
        else:
            inputs.append(np.ascontiguousarray(x.numpy()))
            index.append(np.arange(count))
            table = layer.gates.shifted(torch.zeros(1, 4 * cells)).numpy()
            rows = np.zeros(count, dtype=np.int64)
        hidden = np.empty((count, cells), dtype=np.float32)
        kept_hidden = h.numpy() if layer.projection is None else None
        self.engine.layers[number].step(
            inputs, index, table, rows, c.numpy(), above, hidden, kept, kept_hidden, self.threads
        )
        if layer.projection is None:
            return torch.from_numpy(hidden)
        projection = self.engine.projections[number]
        assert projection is not None
        projected = projection(hidden, self.threads)
        which = np.flatnonzero(kept >= 0)
        h.numpy()[kept[which]] = projected[which]
        return torch.from_numpy(projected)

    def joined(self, hidden: Sequence[Tensor]) -> Tensor:
        """As every walk."""
        return torch.from_numpy(np.concatenate([part.numpy() for part in hidden]))

    def log_probs(self, hidden: Tensor, positions: Ids, ids: Ids) -> NDArray[np.float64]:
        """As every walk."""
        engine = self.engine
        if engine.output is None:
            return self.plain.log_probs(hidden, positions, ids)
        x = np.ascontiguousarray(hidden.numpy())
        if engine.before_output is not None:
            x = engine.before_output(x, self.threads)
        logits = np.empty(len(ids), dtype=np.float32)
        engine.output.pairs(x, positions, ids, logits)
        if engine.constant is not None:
            return logits.astype(np.float64) - engine.constant
        normalizers = np.empty(len(x))
        engine.output.log_normalizers(x, normalizers, self.threads)
        return logits - normalizers[positions]


class _WordTable:
    """(T, 4H) products of words with the first layer's input matrix, biases added; as many as fit."""

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine
        self.row_of = np.full(engine.model.config.vocabulary_size, -1, dtype=np.int64)
        self.used = 0
        self.table: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)

    def of(self, words: Ids, threads: int) -> tuple[NDArray[np.float32], Ids]:
        """(table, the row of each word)."""
        rows = self.row_of[words]
        missing = words[rows < 0]
        if not len(missing):
            return self.table, rows
        missing = np.unique(missing)
        if self.used + len(missing) > len(self.table):
            missing = np.unique(words)
            self._clear(len(missing))
        self._add(missing, threads)
        return self.table, self.row_of[words]

    def expect(self, words: Ids, threads: int) -> None:
        """Make the products of some that are missing, unless they might be forgotten before they are read."""
        missing = np.unique(words[self.row_of[words] < 0])
        if not len(self.table):
            self._clear(1)
        all_fit = len(self.table) == len(self.row_of)
        if all_fit or EXPECTED_ROOM * len(missing) <= len(self.table) - self.used:
            self._add(missing[:EXPECTED], threads)

    def _add(self, missing: Ids, threads: int) -> None:
        if len(missing):
            rows = slice(self.used, self.used + len(missing))
            self._write(missing, self.table[rows], threads)
            self.row_of[missing] = np.arange(rows.start, rows.stop)
            self.used = rows.stop

    def _clear(self, least: int) -> None:
        """Forget all words, with room for `least`; what no word has been written to takes no memory yet."""
        self.row_of[:] = -1
        self.used = 0
        layer = self.engine.model.layers[0]
        assert isinstance(layer, LSTMLayer)
        most = min(TABLE_BYTES // (16 * layer.cells), len(self.row_of))
        if max(least, most) > len(self.table):
            self.table = np.empty((max(least, most), 4 * layer.cells), dtype=np.float32)

    def _write(self, ids: Ids, out: NDArray[np.float32], threads: int) -> None:
        """Products (N, 4H) of words (N,)."""
        engine = self.engine
        x = engine.embedding(ids)
        if engine.embedding_linear is not None:
            x = engine.embedding_linear(x, threads)
        assert engine.word_products is not None
        engine.word_products(x, threads, out)
