"""Commands as processes that a test can stop at any moment, in a home of the test session."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEADLINE_S = 120.0


class Process:
    """A running ``matgen``."""

    def __init__(self, home: Path, arguments: tuple[object, ...], largest_file: int | None) -> None:
        def limit() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        self._popen = subprocess.Popen(
            [sys.executable, "-m", "matgen", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            preexec_fn=limit,  # noqa: PLW1509 - no threads yet, and no other way to set a limit
        )

    def signal_after(self, lines: int, file: Path, number: int) -> None:
        """Send a signal as soon as ``file`` has this many lines."""
        end = time.monotonic() + DEADLINE_S
        while not file.exists() or file.read_bytes().count(b"\n") < lines:
            assert self._popen.poll() is None, self._popen.communicate()[1]
            assert time.monotonic() < end, f"{file} did not get {lines} lines"
        self._popen.send_signal(number)

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end; return exit code and output."""
        out, err = self._popen.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(self._popen.args, self._popen.returncode, out, err)


Start = Callable[..., Process]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start ``matgen`` with arguments; ``largest_file`` makes the disk full at that size, bytes."""
    home = tmp_path_factory.mktemp("home")

    def begin(*arguments: object, largest_file: int | None = None) -> Process:
        return Process(home, arguments, largest_file)

    return begin
