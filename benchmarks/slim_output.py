"""A slim output against a dense one of the same weights: logits alone, and with the normaliser; side by side.

    OMP_NUM_THREADS=1 python benchmarks/slim_output.py --out benchmarks/results

Words, parts K and the share of numbers that are kept (sub-vectors M = V K / share) may be given. Opponents in
32 bits: torch, and the compiled kernels' dense output as the engine takes it (two-byte products, as exact)
and in floats. Each is measured with the block of words or inputs that suits it best. What counts is the
processor time of one thread, which a busy machine disturbs less than the clock's.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from itertools import product
from time import process_time
from typing import Any

import harness
import nbest_native as native
import numpy as np
import torch
from torch import Tensor

from models.matrices.slim import SlimMatrix, SlimSpec
from models.scoring.native_forms import form_two_bytes, slim_form
from nbest.files import write_whole

SCALE = 0.3  # of the sub-vectors: logits vary by about two nats, as trained ones do
BLOCKS = (512, 2048, 8192)  # words that torch multiplies at once
TOKENS = (32, 64, 256, 512)  # inputs whose logits the slim kernel writes at once
Shape = tuple[int, int, int, int, int]  # words, cells, parts, share, inputs
Run = Callable[[Any], Any]


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--words", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--parts", type=int, nargs="+", default=[4, 8])
    parser.add_argument(
        "--shares", type=int, nargs="+", default=[8, 32], help="one number in so many is kept"
    )
    parser.add_argument("--cells", type=int, default=512)
    parser.add_argument("--inputs", type=int, default=512)
    harness.add_options(parser, rounds=9)
    arguments = parser.parse_args()
    if arguments.threads != 1:
        parser.error("--threads: this is a measure of one thread")
    document: dict[str, Any] = {"made": harness.begin(arguments), "rounds": arguments.rounds, "measured": []}
    for words, share, parts in product(arguments.words, arguments.shares, arguments.parts):
        shape = (words, arguments.cells, parts, share, arguments.inputs)
        row = measure(shape, arguments.rounds)
        document["measured"].append(row)
        show(row)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "slim_output.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


def measure(shape: Shape, rounds: int) -> dict[str, Any]:
    """Milliseconds of every contender, and how many times as fast the slim kernel is."""
    contenders = {name: harness.Contender(timed, (make, shape)) for name, make in MAKERS.items()}
    found = harness.side_by_side(contenders, None, rounds=rounds, threads=1)
    seconds = {name: [one.result[0] for one in runs] for name, runs in found.items()}
    exact = found["normaliser, torch dense"][0].result[1]
    rows: dict[str, Any] = {}
    for name, runs in found.items():
        kind = name.partition(",")[0]
        row = {
            "milliseconds": round(1e3 * statistics.median(seconds[name]), 2),
            "quickest": round(1e3 * min(seconds[name]), 2),
            "slim_times_as_fast": round(harness.median_ratio(seconds[name], seconds[f"{kind}, slim"]), 2),
            "quickest_rounds_ratio": round(min(seconds[name]) / min(seconds[f"{kind}, slim"]), 2),
        }
        if kind == "normaliser":
            row["greatest_difference"] = float(f"{np.abs(runs[0].result[1] - exact).max():.2g}")
        rows[name] = row
    words, cells, parts, share, inputs = shape
    named = {"words": words, "cells": cells, "parts": parts, "share": share, "inputs": inputs}
    return named | {"sub_vectors": made(shape)[0].sub_vectors, "contenders": rows}


def timed(make: Callable[[Shape], Run], shape: Shape) -> Run:
    """A run that gives its processor seconds, and its result."""
    run = make(shape)

    def measured(order: Any) -> tuple[float, Any]:
        begun = process_time()
        result = run(order)
        return process_time() - begun, result

    return measured


def made(shape: Shape) -> tuple[SlimMatrix, Tensor]:
    """The matrix (V, H) and inputs (N, H), the same in every process."""
    words, cells, parts, share, inputs = shape
    torch.manual_seed(1)
    spec = SlimSpec(parts=parts, sub_vectors=round(words / share) * parts, by_position=True, scale=SCALE)
    return spec.build(words, cells), torch.randn(inputs, cells).tanh_() / 2


def torch_logits(shape: Shape) -> Run:
    """Dense products with a block of words at a time, into one block of room."""
    matrix, x = made(shape)
    weight = matrix.materialize()

    def with_block(block: int) -> Run:
        room = torch.empty(len(x) * block)

        def run(_: Any) -> None:
            for start in range(0, len(weight), block):
                part = weight[start : start + block]
                torch.mm(x, part.t(), out=room[: len(x) * len(part)].view(len(x), len(part)))

        return run

    return fastest([with_block(block) for block in BLOCKS])


def torch_normalizer(shape: Shape) -> Run:
    """The same, and a running sum of exps."""
    matrix, x = made(shape)
    weight = matrix.materialize()

    def with_block(block: int) -> Run:
        room = torch.empty(len(x) * block)

        def run(_: Any) -> Any:
            total = torch.zeros(len(x))
            shift = None
            for start in range(0, len(weight), block):
                part = weight[start : start + block]
                logits = torch.mm(x, part.t(), out=room[: len(x) * len(part)].view(len(x), len(part)))
                shift = logits.amax(1, keepdim=True) if shift is None else shift
                total += logits.sub_(shift).exp_().sum(1)
            assert shift is not None
            return (total.double().log() + shift[:, 0]).numpy()

        return run

    return fastest([with_block(block) for block in BLOCKS])


def native_dense(shape: Shape) -> Run:
    """The dense kernels as the engine takes them: two-byte products, the largest again in floats."""
    matrix, x = made(shape)
    weight = matrix.materialize().numpy()
    exact = native.Matrix.float32(weight)
    if not native.has_int8():
        return normalizer(native.Output(exact), x)
    form, low = form_two_bytes(native, weight)
    return normalizer(native.Output(form, products="two_bytes", low=low, exact=exact), x)


def native_dense_in_floats(shape: Shape) -> Run:
    """The dense kernels without integer products."""
    matrix, x = made(shape)
    return normalizer(native.Output(native.Matrix.float32(matrix.materialize().numpy())), x)


def slim_normalizer(shape: Shape) -> Run:
    """The slim kernel."""
    matrix, x = made(shape)
    return normalizer(native.Output(slim_form(native, matrix)), x)


def slim_logits(shape: Shape) -> Run:
    """The slim kernel, every logit written."""
    matrix, x = made(shape)
    output = native.Output(slim_form(native, matrix))

    def with_tokens(count: int) -> Run:
        room = np.empty((shape[0], count), dtype=np.float32)

        def run(_: Any) -> None:
            for start in range(0, len(x), count):
                part = x[start : start + count].numpy()
                output.logits(part, room[:, : len(part)])

        return run

    return fastest([with_tokens(count) for count in TOKENS if len(x) % count == 0])


def torch_slim_normalizer(shape: Shape) -> Run:
    """The torch engine's way with a slim output, without the kernel."""
    matrix, x = made(shape)

    def run(_: Any) -> Any:
        with torch.inference_mode():
            prepared = matrix.prepare(x)
            blocks = range(0, matrix.out_features, 2048)
            parts = [matrix.logits(prepared, slice(s, s + 2048)).logsumexp(1) for s in blocks]
            return torch.stack(parts).double().logsumexp(0).numpy()

    return run


MAKERS: dict[str, Callable[[Shape], Run]] = {
    "logits, torch dense": torch_logits,
    "logits, slim": slim_logits,
    "normaliser, torch dense": torch_normalizer,
    "normaliser, kernels dense": native_dense,
    "normaliser, kernels dense in floats": native_dense_in_floats,
    "normaliser, torch slim": torch_slim_normalizer,
    "normaliser, slim": slim_normalizer,
}


def normalizer(output: Any, x: Tensor) -> Run:
    """Natural logarithms of the sums, by a kernel."""
    inputs = x.numpy()

    def run(_: Any) -> Any:
        found = np.empty(len(inputs))
        output.log_normalizers(inputs, found)
        return found

    return run


def fastest(runs: list[Run]) -> Run:
    """The quickest of two runs each."""

    def took(run: Run) -> float:
        begun = [process_time(), run(None), process_time(), run(None), process_time()]
        return float(min(begun[2] - begun[0], begun[4] - begun[2]))

    return min(runs, key=took)


def show(row: dict[str, Any]) -> None:
    """One shape's figures."""
    print(
        f"\nV {row['words']}, H {row['cells']}, K {row['parts']}, M {row['sub_vectors']} (1/{row['share']}), "
        f"{row['inputs']} inputs"
    )
    for name, one in row["contenders"].items():
        times = f"{one['slim_times_as_fast']:6.2f} x ({one['quickest_rounds_ratio']:.2f} x at best)"
        print(
            f"  {name:38} {one['milliseconds']:8.2f} ms ({one['quickest']:.2f} at best)  slim: {times}"
            f"  {one.get('greatest_difference', '')}",
            flush=True,
        )


if __name__ == "__main__":
    main()
