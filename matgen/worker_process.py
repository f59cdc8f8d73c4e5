"""A running ``matgen.worker`` as its parent sees it: ask, hear answers in time, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Final

from matgen import __version__, errors
from matgen.errors import BadOptions, PluginProblem, UserError, WorkerDied

PROTOCOL: Final = 1
"""Raised when one side would misunderstand the other; see ``matgen.worker``."""
_GREETING_SECONDS: Final = 120.0
"""Importing matgen takes one or two; a cold disk on a busy machine takes many more."""
_MOST_CHATTER: Final = 200
"""Lines before the greeting: activated environments may say something."""
_END_SECONDS: Final = 5.0


class NoAnswer(WorkerDied):
    """A worker did not answer in time."""


class WorkerProcess:
    """One interpreter that serves one component."""

    def __init__(self, python: str, *, told: str) -> None:
        """Start it and check that it speaks our protocol.

        Args:
            python: Interpreter to start; empty for the one that runs us.
            told: Where the user said so, for messages.

        Raises:
            BadOptions: it cannot be started, or matgen there is of another time.
            WorkerDied: it ended or kept silent instead of greeting.
        """
        self._told = told
        self._python = python or sys.executable
        # A variable of this environment must not lead the other one to our packages.
        flags = ["-E", "-P"] if python else []
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as we
        try:
            self._process = subprocess.Popen(
                [self._python, *flags, "-m", "matgen.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise BadOptions(
                f"{told}: {self._python} cannot be started: {error.strerror}; python must be the "
                "interpreter of an environment that has matgen and the potential"
            ) from None
        self._end = weakref.finalize(self, _end, self._process)
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        assert self._process.stdout is not None
        threading.Thread(
            target=_read, args=(self._process.stdout, self._lines), daemon=True
        ).start()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, object]) -> None:
        """Send a request.

        Raises:
            WorkerDied: nobody is there.
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except OSError:
            raise self._died() from None

    def answer(self, seconds: float) -> dict[str, Any]:  # JSON values
        """Return the next answer.

        Raises:
            NoAnswer: none came in time; the worker is ended.
            WorkerDied: it ended, or wrote something that is no answer.
            UserError: the error that the worker tells of, as the class it was there.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except Empty:
            self.close()
            raise NoAnswer(f"no answer from {self._python} within {seconds:.0f} s") from None
        if line is None:
            raise self._died()
        reply = _parsed(line)
        if reply is None:
            self.close()
            raise WorkerDied(f"{self._python} wrote {line.strip()[:60]!r} instead of an answer")
        if "error" in reply:
            raise self._error(reply["error"])
        return reply

    def close(self) -> None:
        """End the process; twice does no harm."""
        self._end()
        self._errors.close()

    def _greet(self) -> None:
        end = time.monotonic() + _GREETING_SECONDS
        for _ in range(_MOST_CHATTER):
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                raise NoAnswer(
                    f"{self._told}: {self._python} -m matgen.worker said nothing for "
                    f"{_GREETING_SECONDS:.0f} s"
                ) from None
            if line is None:
                raise BadOptions(
                    f"{self._told}: {self._python} -m matgen.worker does not run "
                    f"({self._last_words()}); install matgen {__version__} in that environment"
                )
            reply = _parsed(line)
            if reply is not None and "hello" in reply:
                return self._check(reply["hello"])
        raise BadOptions(f"{self._told}: {self._python} -m matgen.worker is no worker of matgen")

    def _check(self, hello: Mapping[str, Any]) -> None:  # JSON values
        if hello.get("protocol") != PROTOCOL:
            raise BadOptions(
                f"{self._told}: matgen {hello.get('matgen')} there speaks protocol "
                f"{hello.get('protocol')} between processes, matgen {__version__} here "
                f"{PROTOCOL}; install the same release in both"
            )

    def _error(self, told: Mapping[str, str]) -> UserError:
        kind = getattr(errors, told["kind"], None) if told["kind"] else None
        text = f"{told['text']} (in the environment of {self._python})"
        if isinstance(kind, type) and issubclass(kind, UserError):
            return kind(text)
        return PluginProblem(text)

    def _died(self) -> WorkerDied:
        self._end()
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        words = self._last_words()
        self.close()
        return WorkerDied(f"the worker {self._python} {how}: {words}")

    def _last_words(self) -> str:
        self._end()
        if self._errors.closed:
            return "it was ended before"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else "it left no message"


def runnable(python: str) -> bool:
    """Whether a path is a program."""
    return Path(python).is_file() and os.access(python, os.X_OK)


def _read(stdout: IO[str], lines: SimpleQueue[str | None]) -> None:
    try:
        with stdout:
            for line in stdout:
                lines.put(line)
    finally:
        lines.put(None)


def _parsed(line: str) -> dict[str, Any] | None:  # JSON values
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _end(process: subprocess.Popen[str]) -> None:
    """Have a worker end: by closing its stdin, or by force."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it is gone already
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
