"""Runs the steps of calculations through a command that the user names."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from matgen.dft.job import Job
from matgen.errors import BadOptions
from matgen.records import Sample
from matgen.roles.calculation import Outcome, State, Step

_TOLD_LINES: Final = 3
"""Last lines of an error stream that a status quotes."""
_LOCK: Final = ".running"
_PATIENCE_S: Final = 10.0
"""How long a folder may stay taken by what an ended program left running."""
_GRACE_S: Final = 5.0
"""Between asking a program to end and making it."""


@dataclass
class Runner:
    """Runs what is due.

    Attributes:
        job: The calculations.
        command: Words before the arguments of a step: ``("mpirun", "-np", "4", "pw.x")``.
        max_seconds: Wall time of one step; 0 sets no limit.
        retry: Run steps again that ended without success.
    """

    job: Job
    command: tuple[str, ...]
    max_seconds: float = 0.0
    retry: bool = False
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: bool = False

    def run(
        self, *, workers: int, observer: Callable[[Sample, State], None]
    ) -> Iterator[tuple[Sample, State]]:
        """Yield each crystal with how far it came, as they end.

        Leaving early, also by Ctrl-C, ends the programs that run; their outputs count as cut off.

        Args:
            workers: Crystals at a time.
            observer: Told of every step that begins, from the thread that runs it.

        Raises:
            BadOptions: the command is not there.
        """
        if not self.command:
            raise BadOptions("--command is empty; name the program: --command 'mpirun -np 4 pw.x'")
        pool = ThreadPoolExecutor(workers)
        coming: dict[Future[State], Sample] = {
            pool.submit(self._chain, sample, observer): sample for sample in self.job.samples
        }
        try:
            for future in as_completed(coming):
                yield coming[future], future.result()
        finally:
            self._stop()
            pool.shutdown(cancel_futures=True)

    def _chain(self, sample: Sample, observer: Callable[[Sample, State], None]) -> State:
        """Run the steps of one crystal until it has ended, or one did not."""
        done: set[str] = set()
        state = self.job.advance(sample)
        if self.retry and isinstance(state, Outcome) and state.error:
            _put_aside(self.job.place(sample))
            state = self.job.advance(sample)
        while isinstance(state, Step) and not self._stopping:
            if state.lacks:
                return state
            if state.name in done:
                # It ended, and its output is not whole: nothing would change.
                return Outcome(error=f"{state.name} ended without a result; see {state.output}")
            done.add(state.name)
            observer(sample, state)
            problem = self._execute(state)
            state = self.job.advance(sample)
            if problem and isinstance(state, Step):
                return Outcome(error=f"{state.name}: {problem}")
        return state

    def _execute(self, step: Step) -> str:
        """Run one step; return what went wrong with the program itself, empty if nothing."""
        try:
            with taken(step.folder) as lock:
                return self._execute_alone(step, lock)
        except BlockingIOError:
            return "a program of another run is at work in the folder; end it, or wait for it"

    def _execute_alone(self, step: Step, lock: int) -> str:
        output = step.folder / step.output
        _keep_old(output)
        errors = output.with_suffix(".err")
        with output.open("wb") as out, errors.open("wb") as err:
            try:
                process = subprocess.Popen(
                    [*self.command, *step.arguments],
                    cwd=step.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    # The program holds the lock, too: killed, this process leaves it running.
                    pass_fds=(lock,),
                )
            except OSError as error:
                raise BadOptions(
                    f"cannot run {shlex.join(self.command)}: {error.strerror}; name the program "
                    "with --command"
                ) from None
            with self._lock:
                self._running.add(process)
            try:
                if self._stopping:
                    _end(process)
                code = process.wait(self.max_seconds or None)
            except subprocess.TimeoutExpired:
                _end(process)
                return f"stopped after {self.max_seconds:g} s"
            finally:
                with self._lock:
                    self._running.discard(process)
        if code < 0:
            return f"killed by signal {-code}"
        return f"ended with code {code}{_last_words(errors)}" if code else ""

    def _stop(self) -> None:
        self._stopping = True
        with self._lock:
            running = list(self._running)
        for process in running:
            _end(process)


@contextmanager
def taken(folder: Path) -> Iterator[int]:
    """Hold a folder for one program; gives the descriptor that holds it.

    Raises:
        BlockingIOError: another program holds it.
    """
    handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR)
    try:
        _lock(handle)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    """Take a lock. What MPI started beside a program may hold it a moment longer than that.

    Raises:
        BlockingIOError: another program holds it.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def words(command: str) -> tuple[str, ...]:
    """Return the words of a command line.

    Raises:
        BadOptions: its quotes do not close.
    """
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise BadOptions(f"--command {command}: {error}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return


def _keep_old(path: Path) -> None:
    """Give what an earlier run left another name, so that nothing is lost."""
    if path.exists():
        number = 1
        while (kept := path.with_name(f"{path.name}.{number}")).exists():
            number += 1
        path.rename(kept)


def _put_aside(folder: Path) -> None:
    """Give every output of a crystal another name: its chain begins again."""
    for path in sorted(folder.rglob("*.out")):
        _keep_old(path)


def _last_words(errors: Path) -> str:
    text = errors.read_text(encoding="utf-8", errors="replace").strip()
    lines: Sequence[str] = text.splitlines()[-_TOLD_LINES:]
    return ": " + " ".join(line.strip() for line in lines) if lines else ""
