"""How much memory a process has, and the processors that it may use."""

import os
import resource
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def resident_bytes(process: int | None = None) -> int:
    """Memory that a process has, this one by default; 0 where that is not told (only Linux does)."""
    try:
        pages = int(Path(f"/proc/{process or 'self'}/statm").read_text("ascii").split(" ")[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_of(process: int) -> int:
    """The most memory that another process ever had; 0 where that is not told."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("ascii", errors="replace").split("\n")
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def peak_resident_bytes() -> int:
    """This process's high-water mark; Linux tells it in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def processors(cgroup: Path = _CGROUP) -> int:
    """How many processors this process may keep busy: those it may run on, within its container's quota.

    A container with `cpus: 2` on a host of 64 sees all 64; threads for them would be stopped again and again.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, count if quota is None else min(count, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """Processors' worth of time, by version 2 or version 1 of control groups; None without a limit."""
    try:
        most, period = (cgroup / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            most = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text("ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text("ascii").strip()
        except OSError:
            return None
    if most in ("max", "-1"):
        return None
    return int(most) / int(period)
