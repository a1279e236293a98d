"""The tables of docs/batch.md, from batch.json: a million lists here and, by arithmetic, on many machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULT = Path(__file__).resolve().parent / "results" / "batch.json"
MISSING = "*Not measured yet: run the command below, then `python benchmarks/tables.py`.*"
MILLION = 1_000_000
NODES = (1, 10, 100)
PROCESSORS = 2  # of a machine, as the one of the measurements has
LEFT_ALONE = 1  # of the cluster's processors


def measured() -> str:
    """A row for each engine and number of processes."""
    return MISSING if not RESULT.exists() else engines(json.loads(RESULT.read_text(encoding="utf-8")))


def many() -> str:
    """A row for each number of machines."""
    return MISSING if not RESULT.exists() else machines(json.loads(RESULT.read_text(encoding="utf-8")))


def engines(found: Mapping[str, Any]) -> str:
    """What each took, and what a million such lists take: its start once, and the rest so many times."""
    lists = found["lists"]["lists"]
    lines = [
        "| engine, processes | seconds | of these the start | hypotheses a second | a million lists, hours | "
        "processor-hours |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found["throughput"]["engines"].items():
        hours = (one["start_seconds"] + seconds_a_list(one, lists) * MILLION) / 3600
        label = name if name.startswith("ray") else f"local {name}"
        lines.append(
            f"| {label} | {one['seconds']:.1f} | {one['start_seconds']:.1f} | "
            f"{one['hypotheses_a_second']:,} | "
            f"{hours:.2f} | {hours * processes(name):.2f} |"
        )
    return "\n".join(lines)


def machines(found: Mapping[str, Any]) -> str:
    """Hours of a million lists: start, a look through all, and then the slower of reading and scoring."""
    lists = found["lists"]["lists"]
    name = max(found["throughput"]["engines"], key=lambda one: (one.startswith("ray"), processes(one)))
    one = found["throughput"]["engines"][name]
    reading = found["lists"]["reading_seconds"] / lists * MILLION
    scoring = seconds_a_list(one, lists) * processes(name) * MILLION
    lines = [
        "| machines | processes | first look, hours | scoring, hours | all, hours | machine-hours | "
        "times as fast as one machine |",
        "|---|---|---|---|---|---|---|",
    ]
    alone = 0.0
    for nodes in NODES:
        workers = nodes * PROCESSORS - LEFT_ALONE
        working = max(reading, scoring / workers)
        hours = (one["start_seconds"] + reading + working) / 3600
        alone = alone or hours
        lines.append(
            f"| {nodes} | {workers} | {reading / 3600:.2f} | {working / 3600:.2f} | {hours:.2f} | "
            f"{nodes * hours:.2f} | {alone / hours:.1f} |"
        )
    return "\n".join(lines)


def seconds_a_list(one: Mapping[str, Any], lists: int) -> float:
    """Of a command, behind its start."""
    return float((one["seconds"] - one["start_seconds"]) / lists)


def processes(name: str) -> int:
    """How many an engine's name says."""
    return int(name.rpartition(" ")[2])
