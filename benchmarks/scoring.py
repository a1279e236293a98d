"""Seconds to score n-best lists: the engine, side by side with what else scores them with the same weights.

    python benchmarks/scoring.py --data ../shared/data --model lstm-512 --out benchmarks/results

A model is a directory, or SYSTEM:CELLSxLAYERS:WORDS for one with random weights (speed only). Lists are those
of ../shared/data (the machine translation's, distinct and with duplicates; the recogniser's), or, without
--data, made to the same shape. Peers read the very same texts; sorted, padded batches of 128 unless their
fastest is another. Rows of other models and workloads that the result file has already stay in it.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import harness
import numpy as np
import scoring_peers as peers
import torch

from models import checkpoint
from models.architectures import architecture
from models.language_model import LanguageModel
from models.matrices import products
from models.scoring.native_engine import kernels
from models.scoring.prefix_tree import build_prefix_tree
from models.vocabulary import SPECIAL, Sequences, Vocabulary
from nbest.files import write_whole
from rescoring.formats import read_nbest

PLAIN = "plain torch"
ENGINE = "engine, fp32"
GENERATED_WORDS = 5_000
SIZES = (32, 64, 128, 256, 512)  # batches tried for the peers whose batch is tuned
TRIED = 2560  # texts at most that they are tried on: several of the largest batches


@dataclass(frozen=True)
class Workload:
    """Texts of some lists."""

    name: str
    texts: list[str]


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that has mt/ and asr/")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--lists", type=int, default=40, help="lists of each kind")
    parser.add_argument("--workloads", nargs="+", default=["mt", "mt-duplicates", "asr"])
    parser.add_argument("--kenlm", type=Path, help="an n-gram model in KenLM's format")
    parser.add_argument("--transformer", action="store_true", help="GPT-2's smallest shape too")
    parser.add_argument("--no-onnx", action="store_true", help="leave ONNX Runtime out")
    harness.add_options(parser, rounds=5)
    arguments = parser.parse_args()
    made = harness.begin(arguments)
    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"scoring-{arguments.threads}.json"
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))["measured"]
        rows = {(row["model"], row["workload"]): row for row in earlier}
    ceiling = ceilings()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        for name in arguments.model:
            model = Path(name) if Path(name).is_dir() else untrained(name, Path(folder), arguments.data)
            for workload in workloads(arguments.data, arguments.workloads, arguments.lists):
                row: dict[str, Any] = {"model": Path(name).name, "workload": workload.name}
                row |= {"made": made, "ceilings": ceiling}
                row |= measure(model, workload, arguments)
                row["share_of_ceiling"] = share_of_ceiling(row, ceiling, model)
                show(row)
                rows[row["model"], row["workload"]] = row
                document = {"threads": arguments.threads, "measured": list(rows.values())}
                with write_whole(path) as stream:
                    stream.write((json.dumps(document, indent=1) + "\n").encode())


def measure(path: Path, workload: Workload, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every contender on one workload: median seconds, and how many times as fast as the plain one."""
    model = checkpoint.load(path).model
    contenders = contenders_for(path, workload.texts, arguments, model.config.vocabulary_size)
    found = harness.side_by_side(contenders, None, rounds=arguments.rounds, threads=arguments.threads)
    seconds = {name: [one.seconds for one in rounds] for name, rounds in found.items()}
    exact = found[ENGINE][0].result
    ids = peers.encoded(path, workload.texts)
    tokens = np.asarray([len(one) + 1 for one in ids])
    tree = build_prefix_tree(Sequences.of(ids), SPECIAL.index("<s>"))
    rows = {
        name: {
            "seconds": round(statistics.median(seconds[name]), 4),
            "times_as_fast_as_plain": round(harness.median_ratio(seconds[PLAIN], seconds[name]), 2),
            "rounds": [round(value, 4) for value in seconds[name]],
        }
        | ({} if other_model(name) else agreement(rounds[0].result, exact, tokens))
        for name, rounds in found.items()
    }
    return {
        "texts": len(ids),
        "tokens": int(tokens.sum()),
        "distinct_prefixes": len(tree.words),
        "contenders": rows,
    }


def other_model(name: str) -> bool:
    """Whether its scores are not to be compared."""
    return name.startswith(("KenLM", "transformer"))


def agreement(found: np.ndarray, exact: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Differences from the exact engine, nats a word."""
    each = np.abs(found - exact) / tokens
    return {
        "mean_difference": float(f"{each.mean():.3g}"),
        "greatest_difference": float(f"{each.max():.3g}"),
    }


def contenders_for(
    path: Path, texts: list[str], arguments: argparse.Namespace, words: int
) -> dict[str, harness.Contender]:
    """By name; batches of the tuned ones are the fastest of SIZES on the first TRIED texts."""
    contender = harness.Contender
    found = {
        PLAIN: contender(peers.plain_torch, (path, texts, 128, False, False)),
        "torch engine, fp32": contender(peers.engine, (path, texts, "fp32", False)),
        ENGINE: contender(peers.engine, (path, texts, "fp32", kernels() is not None)),
    }
    if kernels() is not None:
        found["engine, int8"] = contender(peers.engine, (path, texts, "int8", True))
    some = texts[:TRIED]
    for name, bf16 in (("plain torch, distinct, fp32", False), ("plain torch, distinct, bf16", True)):
        size = fastest(lambda size, bf16=bf16: peers.plain_torch(path, some, size, bf16, True))
        found[f"{name}, batch {size}"] = contender(peers.plain_torch, (path, texts, size, bf16, True))
    if not arguments.no_onnx:
        for name, int8 in (("ONNX Runtime, fp32", False), ("ONNX Runtime, int8", True)):
            size = fastest(lambda size, int8=int8: peers.onnx_runtime(path, some, size, int8))
            found[f"{name}, batch {size}"] = contender(peers.onnx_runtime, (path, texts, size, int8))
    if arguments.kenlm:
        found["KenLM"] = contender(peers.kenlm_trigram, (arguments.kenlm, texts))
    if arguments.transformer:
        found["transformer"] = contender(peers.transformer, (texts, 32, words))
    return found


def fastest(make: Any) -> int:
    """The batch size of the quickest of two runs each."""
    took = {}
    for size in SIZES:
        run = make(size)
        begun = [perf_counter(), run(None), perf_counter(), run(None), perf_counter()]
        took[size] = min(begun[2] - begun[0], begun[4] - begun[2])
    return min(took, key=lambda size: took[size])


@torch.inference_mode()
def ceilings() -> dict[str, float]:
    """Giga-operations a second of torch's own products, and of exp, on blocks that stay in cache.

    Of 32-bit products the faster of torch's two libraries: which that is depends on the maker of the CPU.
    """
    x, w, out = torch.randn(512, 512), torch.randn(2048, 512), torch.empty(512, 2048)
    few = x[:, :128].contiguous()
    x8, w8 = (torch.randint(-99, 99, t.shape, dtype=torch.int8) for t in (x, w))
    work = 2 * 512 * 512 * 2048
    found = {
        "fp32_products": max(
            work / best_of(lambda: torch.mm(x, w.t(), out=out)),
            work / best_of(lambda: products.linear(x, w)),
        ),
        "bf16_products": work / best_of(lambda: torch.mm(x.bfloat16(), w.bfloat16().t())),
        "int8_products": work / best_of(lambda: torch._int_mm(x8, w8.t())),
        "exp": few.numel() / best_of(lambda: torch.exp(few)),
    }
    return {name: round(value / 1e9, 2) for name, value in found.items()}


def best_of(work: Any, times: int = 15) -> float:
    """Seconds of the quickest."""
    took = []
    for _ in range(times):
        begun = perf_counter()
        work()
        took.append(perf_counter() - begun)
    return min(took)


def share_of_ceiling(row: dict[str, Any], ceiling: dict[str, float], path: Path) -> dict[str, float]:
    """Least seconds for the products and exps of the distinct prefixes, over the engine's seconds."""
    config = checkpoint.load(path).model.config
    h, v = config.hidden_size, config.vocabulary_size
    products = 2 * (4 * h * h * (2 * config.layers - 1) + v * h)  # of the first layer's inputs: once a word
    shares = {}
    for name, kind in ((ENGINE, "fp32_products"), ("engine, int8", "int8_products")):
        if name in row["contenders"]:
            least = row["distinct_prefixes"] * (products / ceiling[kind] + v / ceiling["exp"]) / 1e9
            shares[name] = round(least / row["contenders"][name]["seconds"], 3)
    return shares


def workloads(data: Path | None, names: Sequence[str], lists: int) -> list[Workload]:
    """Real lists where there are some."""
    if data is None:
        return [Workload("generated", generated(lists))]
    files = {
        "mt": data / "mt" / "dev.distinct.nbest.gz",
        "mt-duplicates": data / "mt" / "dev.dup.nbest.gz",
        "asr": data / "asr" / "dev" / "kaldi_nbest",
    }
    found = []
    for name in names:
        read = read_nbest(files[name])
        last = read.offsets[min(lists, len(read.offsets) - 1)]
        found.append(Workload(name, list(islice(read.texts, int(last)))))
    return found


def generated(lists: int, size: int = 137, length: int = 13, words: int = GENERATED_WORDS) -> list[str]:
    """Lists of variations of one sentence each: 2.7 tokens share a prefix, as in the real ones."""
    random = np.random.default_rng(1)
    texts = []
    weights = 1 / np.arange(1, words + 1)
    for _ in range(lists):
        base = random.choice(words, size=length, p=weights / weights.sum())
        for _ in range(size):
            changed = base.copy()
            where = random.integers(length // 4, length, size=2)
            changed[where] = random.choice(words, size=2, p=weights / weights.sum())
            texts.append(" ".join(f"w{word}" for word in changed[: random.integers(length - 4, length + 1)]))
    return texts


def untrained(name: str, folder: Path, data: Path | None) -> Path:
    """A model SYSTEM:CELLSxLAYERS:WORDS with random weights over the most frequent words of the lists."""
    system, shape, size = name.split(":")
    cells, layers = map(int, shape.split("x"))
    if data is None:
        seen = [f"w{number}" for number in range(GENERATED_WORDS)]
    else:
        lists = workloads(data, ["mt", "asr"], 10**9)
        seen = list(
            dict.fromkeys(word for one in lists for text in one.texts for word in text.split(" ") if word)
        )
    others = (f"word{number}" for number in range(int(size)))
    words = list(islice((*seen, *others), int(size) - len(SPECIAL)))
    vocabulary = Vocabulary((*SPECIAL, *words))
    torch.manual_seed(1)
    model = LanguageModel(architecture(system, len(vocabulary), cells, layers))
    path = folder / name.replace(":", "-")
    checkpoint.save(path, model, vocabulary, checkpoint.ModelCard(name=path.name))
    return path


def show(row: dict[str, Any]) -> None:
    """One workload's figures."""
    print(
        f"\n{row['model']}, {row['workload']}: {row['texts']} texts, {row['tokens']} tokens, "
        f"{row['distinct_prefixes']} prefixes; of the ceiling: {row['share_of_ceiling']}"
    )
    for name, one in row["contenders"].items():
        print(
            f"  {name:40} {one['seconds']:9.3f} s  {one['times_as_fast_as_plain']:8.2f} x"
            f"  {one.get('mean_difference', '')}"
        )


if __name__ == "__main__":
    main()
