"""Ctrl-C and SIGTERM as a wish to stop, fulfilled between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """While entered, the first signal only sets ``wanted``; a second Ctrl-C raises as usual.

    In other threads than the main one Python delivers no signals, so nothing is installed there.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            # None: the handler was installed by C code, which Python cannot give back.
            signal.signal(number, before if before is not None else signal.SIG_DFL)  # type: ignore[arg-type]  # what signal() returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True
