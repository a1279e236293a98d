"""Bytes of memory that scoring takes: what stays with a loaded model, and the peak over lists of any length.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --model models/pretrained/small --out benchmarks/results
    OMP_NUM_THREADS=1 python benchmarks/memory.py --model slim:512x1:800000 --out benchmarks/results

A model is a directory, or SYSTEM:CELLSxLAYERS:WORDS for one with random weights. Rows of other models stay in
the file. Every model is measured in a process of its own that has already used one of the same system and
cells, so that libraries, their buffers and code are not counted; it is the growth of anonymous resident pages
(Linux), after freed memory was given back.

disk         bytes of model.safetensors
vocabulary   what the words and their dictionary take, in Python
model        without that, after loading and scoring a few words
scoring      the peak beyond both while lists are scored, for few hypotheses and for many
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import harness
import numpy as np
import torch
from scoring import untrained

from models import checkpoint
from models.model_folder import VOCABULARY, WEIGHTS
from models.scoring.engine import Precision
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import SPECIAL, Vocabulary
from nbest.files import write_whole

FEW, MANY = 4_000, 40_000  # hypotheses
LENGTH, LIST = 20, 100  # words of a hypothesis, hypotheses that share their first half
SMALL_WORDS = 20_000  # so that what torch keeps for its products is as large as it gets


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--precision", action="append", choices=["fp32", "int8"], help="default: fp32")
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("memory is measured on Linux only")
    path = arguments.out / "memory.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["measured"] if path.exists() else []
    for name in arguments.model:
        for precision in arguments.precision or ["fp32"]:
            with TemporaryDirectory() as folder:
                row = measure(name, precision, Path(folder), arguments.few, arguments.many)
            show(row)
            rows = [one for one in rows if any(one[key] != row[key] for key in ("model", "precision"))]
            rows.append(row)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as stream:
        stream.write((json.dumps({"measured": rows}, indent=1) + "\n").encode())


def measure(name: str, precision: Precision, folder: Path, few: int, many: int) -> dict[str, Any]:
    """All figures of one model, in bytes."""
    path = Path(name) if Path(name).is_dir() else apart(untrained, name, folder, None)
    config = checkpoint.load(path).model.config
    small = f"{config.system}:{config.hidden_size}x{config.layers}:{min(config.vocabulary_size, SMALL_WORDS)}"
    warm = apart(untrained, small, folder, None)
    loaded, peaks = apart(of_model, path, precision, warm, (few, many))
    return {
        "model": name if name != str(path) else path.name,
        "precision": precision,
        "machine": harness.machine(),
        "words": config.vocabulary_size,
        "disk": (path / WEIGHTS).stat().st_size,
        "vocabulary_disk": (path / VOCABULARY).stat().st_size,
        "vocabulary": apart(of_vocabulary, path),
        "model_resident": loaded,
        "scoring_peak": {str(count): peak for count, peak in zip((few, many), peaks, strict=True)},
    }


def of_vocabulary(path: Path) -> int:
    """Growth by a vocabulary, in a process that has read none before, whose room it would take."""
    before = anonymous_bytes()
    kept = Vocabulary.from_json((path / VOCABULARY).read_bytes(), "vocabulary")
    growth = anonymous_bytes() - before
    assert len(kept) > 0
    return growth


def of_model(path: Path, precision: Precision, warm: Path, counts: tuple[int, ...]) -> tuple[int, list[int]]:
    """Growth by a model without its vocabulary that has scored a few words, and peaks beyond it."""
    _use(warm, precision)
    kept = Vocabulary.from_json((path / VOCABULARY).read_bytes(), "vocabulary")
    before = anonymous_bytes()
    with patch.object(checkpoint, "_vocabulary", return_value=kept):
        loaded = checkpoint.load(path)
    scorer = LanguageModelScorer(loaded, "m", precision=precision)
    words = loaded.vocabulary.words[len(SPECIAL) :]
    scorer.score([" ".join(words[:3])])
    growth = anonymous_bytes() - before
    peaks = []
    for count in counts:
        texts = hypotheses(words, count)
        give_back()  # so that it counts when it is taken again
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        begun = _status("VmHWM")
        scorer.score(texts)
        peaks.append(_status("VmHWM") - begun)
    return growth, peaks


def _use(path: Path, precision: Precision) -> None:
    scorer = LanguageModelScorer(checkpoint.load(path), "warm", precision=precision)
    scorer.score(["word1 word2", "word3"])


def hypotheses(words: tuple[str, ...], count: int) -> list[str]:
    """Lists of `LIST` hypotheses each; the words of all of them spread over the whole vocabulary."""
    random = np.random.default_rng(1)
    texts = []
    for _ in range(-(-count // LIST)):
        start = random.integers(len(words), size=LENGTH // 2)
        for _ in range(LIST):
            end = random.integers(len(words), size=LENGTH // 2)
            texts.append(" ".join(words[i] for i in (*start, *end)))
    return texts[:count]


def give_back() -> None:
    """Let the system have what was freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def anonymous_bytes() -> int:
    """Resident pages that are no file's, freed memory given back first."""
    give_back()
    for line in Path("/proc/self/smaps_rollup").read_text().split("\n"):
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().split("\n"):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """`work(*arguments)` in a fresh process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.submit(work, *arguments).result()


def show(row: dict[str, Any]) -> None:
    """One model's figures."""
    mib = {key: row[key] / 2**20 for key in ("disk", "vocabulary_disk", "vocabulary", "model_resident")}
    print(
        f"\n{row['model']}, {row['words']} words, {row['precision']}\n"
        f"  weights     {mib['disk']:8.2f} MiB on disk, {mib['model_resident']:8.2f} resident: "
        f"{row['model_resident'] / row['disk']:.2f} times\n"
        f"  vocabulary  {mib['vocabulary_disk']:8.2f} MiB on disk, {mib['vocabulary']:8.2f} resident"
    )
    for count, peak in row["scoring_peak"].items():
        print(f"  scoring {count:>7} hypotheses: {peak / 2**20:8.2f} MiB more at the peak", flush=True)


if __name__ == "__main__":
    main()
