"""Throughput and memory of `nbest rescore` on a large file, by engine, number of processes and size.

    OMP_NUM_THREADS=1 python benchmarks/batch.py LISTS.nbest.gz --lm small --ray 1 2 --out benchmarks/results

Each figure is of a command of its own, as a user runs it. Rounds go through the engines in turn, so that
whatever else the machine does meets all of them; a ratio is the median of the rounds' own ratios. Of each
command the part that does not grow with the file is what it takes for the first list alone. Memory is the
most that a process held, of the file and of the same lists many times over (with new ids), ranked by the
decoder's total alone: what a model needs does not grow with the file.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness

from nbest.files import read_lines, write_whole
from rescoring.formats import open_blocks

RESCORE = [sys.executable, "-m", "service.cli.main", "rescore"]


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("--lm", default="small")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ray", type=int, nargs="*", default=[], help="processes on Ray, beside them")
    parser.add_argument("--copies", type=int, default=20, help="of the lists, for the memory")
    parser.add_argument("--most-lists", type=int, help="use no more of them")
    harness.add_options(parser, rounds=3)
    arguments = parser.parse_args()
    made = harness.begin(arguments)
    engines = {f"{jobs}": ["--jobs", str(jobs)] for jobs in arguments.jobs}
    engines |= {f"ray {jobs}": ["--engine", "ray", "--jobs", str(jobs)] for jobs in arguments.ray}
    with tempfile.TemporaryDirectory() as folder:
        lists, first = Path(folder) / "lists.gz", Path(folder) / "first.gz"
        count = copied(arguments.lists, lists, 1, arguments.most_lists)
        copied(arguments.lists, first, 1, 1)
        document = {
            "made": made,
            "lists": {"file": arguments.lists.name, "hypotheses": count, **reading(lists)},
            "throughput": throughput(lists, first, count, engines, arguments, Path(folder)),
            "memory": memory(lists, arguments, Path(folder)),
        }
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "batch.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


def copied(source: Path, target: Path, copies: int, most: int | None = None) -> int:
    """Writes the lists so many times, each time with new ids; the number of hypotheses."""
    lines = [line.partition("|||") for _, line in read_lines(source) if line.strip()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _, _ in lines))}
    kept = [(numbers[name], rest) for name, _, rest in lines if most is None or numbers[name] < most]
    lists = 1 + max(number for number, _ in kept)
    with gzip.open(target, "wt", compresslevel=1, encoding="utf-8") as stream:
        for copy in range(copies):
            stream.writelines(f"{number + copy * lists} |||{rest}\n" for number, rest in kept)
    return copies * len(kept)


def reading(lists: Path) -> dict[str, Any]:
    """How many lists there are, and the seconds that one process takes to look through them once."""
    begun = time.perf_counter()
    with open_blocks(lists) as blocks:
        return {"lists": len(blocks.ids), "reading_seconds": round(time.perf_counter() - begun, 3)}


def throughput(
    lists: Path,
    first: Path,
    count: int,
    engines: Mapping[str, Sequence[str]],
    arguments: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    """Seconds by engine, with the start of the command and the first look at the file; those of the start."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    starts: dict[str, list[float]] = {name: [] for name in engines}
    outputs = set()
    out = folder / "out.gz"
    for _ in range(arguments.rounds):
        for name, options in engines.items():
            given = ["--lm", arguments.lm, *options, "--threads", str(arguments.threads)]
            starts[name].append(rescore(first, folder / "first.out", given))
            seconds[name].append(rescore(lists, out, given))
            outputs.add(out.read_bytes())
    if len(outputs) > 1:
        sys.exit("the output is not the same for every engine and number of processes")
    base = next(iter(engines))
    found = {}
    for name, several in seconds.items():
        middle = statistics.median(several)
        found[name] = {
            "seconds": round(middle, 2),
            "start_seconds": round(statistics.median(starts[name]), 2),
            "hypotheses_a_second": round(count / middle),
            "times_as_fast": round(harness.median_ratio(seconds[base], several), 2),
            "rounds": [round(one, 2) for one in several],
        }
        print(f"{name} processes: {found[name]}", flush=True)
    return {"output_bytes": out.stat().st_size, "engines": found}


def memory(lists: Path, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The most megabytes of a process, of the file and of many copies of it."""
    found = {}
    for copies in (1, arguments.copies):
        many = folder / "many.gz"
        count = copied(lists, many, copies)
        peak = peak_megabytes([*RESCORE, str(many), "--jobs", "1", "--out", str(folder / "out.gz")])
        found[str(copies)] = {"hypotheses": count, "peak_megabytes": peak}
        print(f"{copies} copies: {found[str(copies)]}", flush=True)
    return found


def rescore(lists: Path, out: Path, given: Sequence[str]) -> float:
    """The command; its seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [*RESCORE, str(lists), *given, "--out", str(out)]
    begun = time.perf_counter()
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - begun


def peak_megabytes(command: Sequence[str]) -> int:
    """Of a process that only runs this one: the system tells the most of all children so far."""
    program = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *command], check=True, capture_output=True)
    return round(int(done.stdout) / 1024)


if __name__ == "__main__":
    main()
