"""How much memory this process took, and how much the host has left."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_resident_memory() -> int | None:
    """Return the most bytes that this process held in memory; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def resident_memory() -> int | None:
    """Return the bytes that this process holds in memory now; None where there is no /proc."""
    return _of_proc(Path("/proc/self/status"), "VmRSS:")


def free_memory() -> int | None:
    """Return the bytes that can be taken without swapping, within a container's limit.

    None where the system does not tell.
    """
    free = _of_proc(Path("/proc/meminfo"), "MemAvailable:")
    if free is None:
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such limit, or the word "max"
        return free
    return min(free, max(0, limit - used))


def _of_proc(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    line = next((line for line in lines if line.startswith(name)), None)
    return None if line is None else 1024 * int(line.split()[1])
