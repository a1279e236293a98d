"""What else scores texts with an LSTM language model: the same weights, as good users of each library would.

Each maker gives a run: nothing in, (texts,) sums of ln P out, words and ``</s>``, out-of-vocabulary words not
charged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models import checkpoint
from models.language_model import LanguageModel
from models.layers.lstm import LSTMLayer
from models.matrices.base import Matrix
from models.scoring.scorer import LanguageModelScorer

Run = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Plain:
    """Any model as torch's own modules hold it; gains and linear layers are multiplied out."""

    embedding: Tensor  # (V, E)
    layers: list[tuple[Tensor, Tensor, Tensor]]  # input (4H, I), recurrent (4H, H), bias (4H,)
    output: Tensor  # (V, H)
    output_bias: Tensor  # (V,)

    @classmethod
    @torch.no_grad()
    def of(cls, model: LanguageModel) -> "Plain":
        """The numbers of a model without projections or parallel cells."""
        v = model.config.vocabulary_size
        layers = []
        for layer in model.layers:
            assert isinstance(layer, LSTMLayer)
            assert layer.projection is None
            gates = layer.gates
            gain = torch.ones(4 * layer.cells) if gates.gamma is None else gates.gamma.exp()
            matrices = [cast("Matrix", matrix) for matrix in gates.matrices]
            recurrent, inputs = (gain[:, None] * matrix.materialize() for matrix in matrices)
            layers.append((inputs, recurrent, gates.shifted(torch.zeros(4 * layer.cells))))
        output, bias = model.output.materialize(), torch.zeros(v)
        if model.output_bias is not None:
            bias = bias + model.output_bias
        if model.output_linear is not None:
            width = model.config.hidden_size
            shift = model.output_linear(torch.zeros(1, width))  # (1, H)
            linear = (model.output_linear(torch.eye(width)) - shift).t()  # (H, H)
            output, bias = output @ linear, bias + (output @ shift.t())[:, 0]
        return cls(model.embed(torch.arange(v)), layers, output, bias)


def encoded(path: Path, texts: Sequence[str]) -> list[list[int]]:
    """Word ids of the texts in a model's vocabulary."""
    vocabulary = checkpoint.load(path).vocabulary
    return [vocabulary.encode(text)[0] for text in texts]


def batches(ids: list[list[int]], size: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(which texts, inputs (B, T), targets (B, T), mask (B, T)), sorted by length and padded."""
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    found = []
    for first in range(0, len(order), size):
        which = order[first : first + size]
        longest = max(len(ids[number]) for number in which) + 1
        inputs = np.zeros((len(which), longest), dtype=np.int64)
        targets, mask = inputs.copy(), np.zeros(inputs.shape, dtype=np.float32)
        for row, number in enumerate(which):
            words = ids[number]
            inputs[row, : len(words) + 1] = [2, *words]  # <s>
            targets[row, : len(words) + 1] = [*words, 0]  # </s>
            mask[row, : len(words) + 1] = 1
        found.append((np.asarray(which), inputs, targets, mask))
    return found


def engine(path: Path, texts: Sequence[str], precision: str, native: bool) -> Run:
    """Ours."""
    loaded = checkpoint.load(path)
    scorer = LanguageModelScorer(loaded, "m", precision=precision, native=native)  # type: ignore[arg-type]

    def run(_: Any) -> np.ndarray:
        scores = scorer.score(texts)
        return scores.nat_log_probs - scores.oov_counts * loaded.vocabulary.nat_oov_charge

    return run


def plain_torch(path: Path, texts: Sequence[str], size: int, bf16: bool, distinct: bool) -> Run:
    """nn.LSTM over sorted, padded batches; log_softmax and gather; each distinct text once where asked."""
    numbers = Plain.of(checkpoint.load(path).model)
    kind = torch.bfloat16 if bf16 else torch.float32
    v, e = numbers.embedding.shape
    h = numbers.output.shape[1]
    embedding = nn.Embedding(v, e, _weight=numbers.embedding.to(kind))
    lstm = nn.LSTM(e, h, num_layers=len(numbers.layers), batch_first=True)
    for number, (inputs, recurrent, bias) in enumerate(numbers.layers):
        for name, value in (("ih", inputs), ("hh", recurrent)):
            getattr(lstm, f"weight_{name}_l{number}").data = value
        getattr(lstm, f"bias_ih_l{number}").data = bias
        getattr(lstm, f"bias_hh_l{number}").data = torch.zeros_like(bias)
    output = nn.Linear(h, v)
    output.weight.data, output.bias.data = numbers.output, numbers.output_bias
    lstm, output = lstm.to(kind), output.to(kind)

    def run(_: Any) -> np.ndarray:
        place: dict[str, int] = {}
        which = [place.setdefault(text, len(place)) if distinct else n for n, text in enumerate(texts)]
        ids = encoded(path, list(place) if distinct else texts)
        sums = np.zeros(len(ids))
        with torch.inference_mode():
            for rows, inputs, targets, mask in batches(ids, size):
                hidden, _state = lstm(embedding(torch.from_numpy(inputs)))
                log_probs = torch.log_softmax(output(hidden), -1)
                chosen = log_probs.gather(2, torch.from_numpy(targets)[:, :, None])[..., 0].float()
                sums[rows] = (chosen * torch.from_numpy(mask)).sum(1).numpy()
        return sums[which]

    return run


def onnx_model(numbers: Plain) -> Any:
    """Inputs and targets (T, B) -> ln P of the targets (T, B), as an ONNX graph."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def array(name: str, value: Tensor) -> Any:
        return numpy_helper.from_array(value.detach().contiguous().numpy(), name)

    nodes = [helper.make_node("Gather", ["embedding", "inputs"], ["x0"])]  # (T, B, E)
    held = [array("embedding", numbers.embedding), array("output", numbers.output.t())]
    held += [array("output_bias", numbers.output_bias), array("axis1", torch.tensor([1]))]
    for n, (inputs, recurrent, bias) in enumerate(numbers.layers):
        i, f, g, o = (part[None] for part in torch.arange(len(bias)).chunk(4))
        order = torch.cat([i, o, f, g], 1)[0]  # ONNX has input, output, forget, cell
        held += [array(f"w{n}", inputs[order][None]), array(f"r{n}", recurrent[order][None])]
        held.append(array(f"b{n}", torch.cat([bias[order], torch.zeros_like(bias)])[None]))
        size = recurrent.shape[1]
        nodes.append(
            helper.make_node("LSTM", [f"x{n}", f"w{n}", f"r{n}", f"b{n}"], [f"y{n}"], hidden_size=size)
        )
        nodes.append(helper.make_node("Squeeze", [f"y{n}", "axis1"], [f"x{n + 1}"]))  # (T, B, H)
    nodes += [
        helper.make_node("MatMul", [f"x{len(numbers.layers)}", "output"], ["products"]),
        helper.make_node("Add", ["products", "output_bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=2),
        helper.make_node("Unsqueeze", ["targets", "axis2"], ["wide_targets"]),
        helper.make_node("GatherElements", ["log_probs", "wide_targets"], ["chosen_wide"], axis=2),
        helper.make_node("Squeeze", ["chosen_wide", "axis2"], ["chosen"]),
    ]
    held.append(array("axis2", torch.tensor([2])))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "lm",
        [info("inputs", TensorProto.INT64, ["T", "B"]), info("targets", TensorProto.INT64, ["T", "B"])],
        [info("chosen", TensorProto.FLOAT, ["T", "B"])],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def onnx_runtime(path: Path, texts: Sequence[str], size: int, int8: bool) -> Run:
    """ONNX Runtime over the same batches; 8 bits by its dynamic quantization."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    held = TemporaryDirectory()
    file = Path(held.name) / "model.onnx"
    onnx.save(onnx_model(Plain.of(checkpoint.load(path).model)), file)
    if int8:
        small = file.with_name("int8.onnx")
        quantize_dynamic(
            file,
            small,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "LSTM"],
        )
        file = small
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(_: Any, _held: TemporaryDirectory[str] = held) -> np.ndarray:
        ids = encoded(path, texts)
        sums = np.zeros(len(ids))
        for rows, inputs, targets, mask in batches(ids, size):
            (chosen,) = session.run(None, {"inputs": inputs.T.copy(), "targets": targets.T.copy()})
            sums[rows] = (chosen.T * mask).sum(1)
        return sums

    return run


def kenlm_trigram(file: Path, texts: Sequence[str]) -> Run:
    """KenLM: another model altogether, for context."""
    import kenlm

    model = kenlm.Model(str(file))
    return lambda _: np.asarray([model.score(text) for text in texts]) * np.log(10)


def transformer(texts: Sequence[str], size: int, vocabulary_size: int) -> Run:
    """A transformer of GPT-2's smallest shape, as many words; random weights, speed only."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary_size, bos_token_id=2, eos_token_id=0)).eval()
    words = {
        word: 3 + n % (vocabulary_size - 3) for n, word in enumerate({w for t in texts for w in t.split(" ")})
    }
    ids = [[words[word] for word in text.split(" ")] for text in texts]

    def run(_: Any) -> np.ndarray:
        sums = np.zeros(len(ids))
        with torch.inference_mode():
            for rows, inputs, targets, mask in batches(ids, size):
                log_probs = torch.log_softmax(model(torch.from_numpy(inputs)).logits, -1)
                chosen = log_probs.gather(2, torch.from_numpy(targets)[:, :, None])[..., 0]
                sums[rows] = (chosen * torch.from_numpy(mask)).sum(1).numpy()
        return sums

    return run
