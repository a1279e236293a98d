"""The tables of docs/performance.md on scoring, from the result files that each function names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
WORKLOADS = {
    "mt": "translation",
    "mt-duplicates": "translation, with duplicates",
    "asr": "speech",
}
PEERS = {  # contender, of whatever batch -> the head of its column
    "plain torch, distinct, fp32": "torch, distinct texts",
    "plain torch, distinct, bf16": "the same, bf16",
    "ONNX Runtime, fp32": "ONNX Runtime",
    "ONNX Runtime, int8": "ONNX Runtime, int8",
    "torch engine, fp32": "nbest, no kernels",
    "engine, fp32": "**nbest, exact**",
    "engine, int8": "**nbest, int8**",
}
OTHERS = {"KenLM": "KenLM, 5-grams", "transformer": "a transformer of GPT-2's smallest shape"}

Contenders = Mapping[str, Mapping[str, Any]]


def read(name: str) -> Any:
    """A result file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def of(contenders: Contenders, name: str) -> Mapping[str, Any]:
    """The contender of this name, its batch aside."""
    return next(one for key, one in contenders.items() if key.partition(", batch")[0] == name)


def beside_others() -> str:
    """Each model and workload: seconds of plain torch, and how many times as fast all others are."""
    heads = [
        "model",
        "lists, texts",
        "plain torch, seconds",
        *PEERS.values(),
        "int8 over bf16",
        "int8 over the best ONNX",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in read("scoring-1.json")["measured"]:
        contenders = row["contenders"]
        plain = of(contenders, "plain torch")["seconds"]
        times = {name: of(contenders, name)["times_as_fast_as_plain"] for name in PEERS}
        best = min(of(contenders, name)["seconds"] for name in PEERS if name.startswith("ONNX"))
        int8 = of(contenders, "engine, int8")["seconds"]
        over_bf16 = of(contenders, "plain torch, distinct, bf16")["seconds"] / int8
        cells = [
            row["model"],
            f"{WORKLOADS[row['workload']]}, {row['texts']:,}",
            f"{plain:.2f}",
            *(f"{value:.3g}" for value in times.values()),
            f"{over_bf16:.1f}",
            f"{best / int8:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def context() -> str:
    """What is of another kind altogether: seconds of the same texts."""
    lines = ["| lists | nbest, exact: seconds | " + " | ".join(OTHERS.values()) + " |", "|---|---|---|---|"]
    for row in read("scoring-1.json")["measured"]:
        contenders = row["contenders"]
        if set(OTHERS) <= set(contenders):
            names = ("engine, fp32", *OTHERS)
            cells = " | ".join(f"{contenders[name]['seconds']:.3g}" for name in names)
            lines.append(f"| {WORKLOADS[row['workload']]} | {cells} |")
    return "\n".join(lines)


def ceilings() -> str:
    """The least time that torch's rates leave for all products and exps, by what the engine took."""
    measured = read("scoring-1.json")["measured"]
    lines = ["| model | lists | exact | int8 |", "|---|---|---|---|"]
    for row in measured:
        shares = row["share_of_ceiling"]
        cells = [f"{shares[name]:.2f}" for name in ("engine, fp32", "engine, int8")]
        lines.append(f"| {row['model']} | {WORKLOADS[row['workload']]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def threads() -> str:
    """Microseconds of each part on one thread and on two, and how many times as fast two are."""
    found = read("scoring_parts.json")
    lines = [
        "| model | precision | step, one thread and two | times | outputs | times | whole lists | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model, precisions in found["models"].items():
        for precision, parts in precisions.items():
            cells = [
                cell
                for one, two in (parts["step"], parts["output"], parts["whole"])
                for cell in (f"{one:.1f}, {two:.1f}", f"{one / two:.2f}")
            ]
            lines.append(f"| {model} | {precision} | {' | '.join(cells)} |")
    one, two = found["product_of_torch"]
    lines.append(f"| torch's own product | | {one:,.0f}, {two:,.0f} | {one / two:.2f} | | | | |")
    return "\n".join(lines)


def precision() -> str:
    """What int8 changes on real lists, by model and task."""
    found = read("precision.json")
    heads = [
        "model",
        "lists, each tuning",
        "nats a token: mean, 99.9th percentile",
        "1-bests changed",
        "share",
        "of these nearer than 0.0001 nats",
        "largest change of BLEU or WER",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found["rows"]:
        off, changed = row["nats_a_token"], row["changed_1_bests"]
        largest = max(abs(exact - near) for exact, near in row["scores_exact_and_int8"])
        cells = [
            row["model"],
            f"{WORKLOADS[row['task']]}, {row['lists']:,}",
            f"{off['mean']:.5f}, {off['percentile_99_9']:.4f}",
            str(sum(changed)),
            f"{row['share_changed']:.2%}",
            str(sum(row["of_these_within_noise"])),
            f"{largest:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    all_of_them = found["all"]
    lines.append(
        f"| all | {all_of_them['1_bests']:,} 1-bests | | {all_of_them['changed']} | "
        f"{all_of_them['share_changed']:.3%} | {all_of_them['of_these_within_noise']} | |"
    )
    return "\n".join(lines)


def slim() -> str:
    """Slim outputs beside dense ones, both with the same inputs."""
    names = (
        "logits, torch dense",
        "normaliser, torch dense",
        "normaliser, kernels dense",
        "normaliser, kernels dense in floats",
    )
    lines = [
        "| V | stored | K | M | slim, ms | logits: torch | with normaliser: torch | our dense, two bytes | "
        "our dense, floats |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in read("slim_output.json")["measured"]:
        contenders = row["contenders"]
        faster = [f"{contenders[name]['slim_times_as_fast']:.1f}" for name in names]
        shape = f"{row['words']:,} | 1/{row['share']} | {row['parts']} | {row['sub_vectors']:,}"
        took = f"{contenders['normaliser, slim']['milliseconds']:.1f}"
        cells = [shape, took, *faster]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def memory() -> str:
    """Bytes on disk, in memory and at the peak."""
    lines = [
        "| model | V | precision | weights on disk | model resident | times | vocabulary resident "
        "| peak while scoring (hypotheses) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in read("memory.json")["measured"]:
        disk, resident, vocabulary = (one[key] / 2**20 for key in ("disk", "model_resident", "vocabulary"))
        peaks = (f"{peak / 2**20:.0f} ({int(few):,})" for few, peak in one["scoring_peak"].items())
        lines.append(
            f"| {one['model']} | {one['words']:,} | {one['precision']} | {disk:.2f} | {resident:.2f} "
            f"| {resident / disk:.2f} | {vocabulary:.1f} | {', '.join(peaks)} |"
        )
    return "\n".join(lines)
