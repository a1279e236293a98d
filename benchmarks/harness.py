"""Fair timing: contenders are processes that run in turn, round after round, on a machine that is idle.

Whatever else the machine does meets all of them; a figure is a median over rounds, a ratio the median of the
rounds' own ratios.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nbest.signature import signature


@dataclass(frozen=True)
class Contender:
    """`make(*arguments)` runs in a process of its own and gives what is timed: order -> any result."""

    make: Callable[..., Callable[[Any], Any]]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Round:
    """One run of one contender."""

    seconds: float
    result: Any


def add_options(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """What every timing benchmark takes."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--load-limit", type=float, default=0.3, help="running processes, a minute's mean")
    parser.add_argument("--force", action="store_true", help="run whatever the load")
    parser.add_argument("--out", type=Path, required=True)


def begin(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print the machine and its load; end here where it is busy. What a result says of its making."""
    load = os.getloadavg()[0]
    print(f"{machine()}; load {load:.2f}")
    limit = arguments.load_limit
    if load > limit and not arguments.force:
        sys.exit(f"load {load:.2f} is above {limit}: wait until the machine is idle, or --force")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_before": round(load, 2),
        "forced": arguments.force and load > limit,
        "signature": signature({"torch": version("torch"), "threads": arguments.threads}),
    }


def side_by_side(
    contenders: Mapping[str, Contender], order: Any, *, rounds: int, threads: int
) -> dict[str, list[Round]]:
    """Every contender's rounds; one more before them, for warming up, is not counted."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, list[Round]] = {name: [] for name in contenders}
    workers = {}
    for name, contender in contenders.items():
        mine, theirs = context.Pipe()
        process = context.Process(target=_contend, args=(theirs, contender, threads), daemon=True)
        process.start()
        theirs.close()
        workers[name] = (process, mine)
    for _, mine in workers.values():
        mine.recv()  # ready
    for number in range(rounds + 1):
        for name, (_, mine) in workers.items():
            mine.send(order)
            seconds, result = mine.recv()
            if number:
                found[name].append(Round(seconds, result))
    for process, mine in workers.values():
        mine.close()
        process.join()
    return found


def _contend(orders: Connection, contender: Contender, threads: int) -> None:
    """One contender's process: a run for every order, until there is nobody to give one."""
    import torch

    torch.set_num_threads(threads)
    run = contender.make(*contender.arguments)
    orders.send("ready")
    while True:
        try:
            order = orders.recv()
        except EOFError:
            return
        begun = time.perf_counter()
        result = run(order)
        orders.send((time.perf_counter() - begun, result))


def median_ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as large, round by round."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def machine() -> str:
    """What it runs on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2] for line in info.read_text().split("\n") if "model name" in line]
        cpu = names[0].strip() if names else cpu
    return f"{cpu}, {os.cpu_count()} processors"
