"""How fast lists are read, in processor seconds of one core, and how much memory blocks take.

    python benchmarks/formats.py LISTS.nbest.gz --out benchmarks/results

Reading is parsing every feature. Each measurement is a process of its own; the figure is the least of some
rounds, since whatever else the machine does can only add to it. The machine has to be idle: above the load
limit only --force runs.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import harness

from nbest.files import write_whole


def read_whole(path: str) -> tuple[int, int]:
    """Hypotheses and columns, all in memory."""
    from rescoring.formats import read_nbest

    lists = read_nbest(path)
    return lists.features.shape[0], lists.features.shape[1]


def read_blocks(path: str) -> tuple[int, int]:
    """The same block by block, written to nowhere as they come."""
    import numpy as np

    from rescoring.formats import open_blocks, open_writer

    count = columns = 0
    with open_blocks(path) as blocks, open_writer("/dev/null", blocks.format.name) as write:
        for block in blocks:
            write(block, np.arange(len(block.texts)), None)
            count, columns = count + block.features.shape[0], block.features.shape[1]
    return count, columns


WAYS = {"whole": read_whole, "in blocks, and written": read_blocks}


def measure(way: str, path: str, rounds: int) -> dict[str, Any]:
    """The best of `rounds`, and the most memory of the process."""
    seconds = []
    for _ in range(rounds):
        begun = time.process_time()
        hypotheses, columns = WAYS[way](path)
        seconds.append(time.process_time() - begun)
    return {
        "hypotheses": hypotheses,
        "columns": columns,
        "processor_seconds": round(min(seconds), 3),
        "all_rounds": [round(one, 3) for one in seconds],
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("lists")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--load-limit", type=float, default=0.3, help="running processes, a minute's mean")
    parser.add_argument("--force", action="store_true", help="run whatever the load")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    made = harness.begin(arguments)
    context = multiprocessing.get_context("spawn")
    found = {}
    for way in WAYS:
        with context.Pool(1) as pool:
            found[way] = pool.apply(measure, (way, arguments.lists, arguments.rounds))
        print(way, found[way])
    document = {"made": made, "lists": Path(arguments.lists).name, "read": found}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "formats.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
