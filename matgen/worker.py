"""Serves one component to another interpreter: ``python -m matgen.worker``.

Potentials need environments that contradict each other; the other side is ``matgen.elsewhere``.
Requests come as JSON lines on stdin and are answered by JSON lines on stdout, in order:

- at the start, unasked: ``{"hello": {"protocol", "matgen", "python", "plugins"}}``
- ``{"do": "describe", "component": {role, use, revision, settings}}`` → ``{"described": text}``
- ``{"do": "open", "component": …, "device", "threads"}`` → ``{"opened": true}``
- ``{"do": "relax", "crystals": […]}`` → one ``{"relaxation": …}`` per crystal, each when it is done
- whatever goes wrong → ``{"error": {"kind", "text"}}``; kind is the name of one of matgen's errors,
  or empty

What libraries print goes to stderr. The end of stdin ends the worker at once, in the middle of a
relaxation too: then nobody is left to hear of it.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from matgen import __version__
from matgen.errors import BadOptions, MatgenError
from matgen.worker_process import PROTOCOL

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.relaxer import Relaxer, RelaxerSession


def main() -> None:
    """Serve until stdin ends."""
    # Ctrl-C goes to all processes of a terminal; the parent decides, and closing stdin ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _own_streams()
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    from matgen.catalog import Catalog

    server = _Server(Catalog.load())
    _write(replies, server.hello())
    while True:
        for reply in server.replies(lines.get()):
            _write(replies, reply)


class _Server:
    """What a worker knows between requests."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._session: RelaxerSession | None = None

    def hello(self) -> dict[str, object]:
        """Return who is here."""
        return {
            "hello": {
                "protocol": PROTOCOL,
                "matgen": __version__,
                "python": platform.python_version(),
                "plugins": {info.name: info.version for info in self._catalog.plugins()},
            }
        }

    def replies(self, line: str) -> Iterator[dict[str, object]]:
        """Yield the answers to one request; an error is the last of them."""
        try:
            request = json.loads(line)
            yield from self._answered(request)
        except MatgenError as error:
            yield {"error": {"kind": type(error).__name__, "text": str(error)}}
        except Exception as error:  # noqa: BLE001 - the fence: the other side tells of it
            traceback.print_exc()
            yield {"error": {"kind": "", "text": f"{type(error).__name__}: {error}"}}

    def _answered(self, request: Mapping[str, Any]) -> Iterator[dict[str, object]]:  # JSON
        match request["do"]:
            case "describe":
                yield {"described": self._relaxer(request["component"]).fingerprint()}
            case "open":
                relaxer = self._relaxer(request["component"])
                self._session = relaxer.session(request["device"], threads=request["threads"])
                yield {"opened": True}
            case "relax":
                yield from self._relaxed(request["crystals"])
            case other:
                raise BadOptions(f"a worker of protocol {PROTOCOL} cannot {other!r}")

    def _relaxer(self, saved: Mapping[str, Any]) -> Relaxer:  # JSON
        from matgen.roles.relaxer import Relaxer

        component = self._catalog.restore(saved)
        if not isinstance(component, Relaxer):
            raise BadOptions(f"{saved['use']} is no relaxer, and only relaxers are served")
        return component

    def _relaxed(self, crystals: list[Any]) -> Iterator[dict[str, object]]:  # JSON
        from matgen.evaluation.relaxation_json import crystal_from_json, relaxation_to_json

        if self._session is None:
            raise BadOptions("nothing is open; open a relaxer first")
        for relaxation in self._session.relax([crystal_from_json(c) for c in crystals]):
            yield {"relaxation": relaxation_to_json(relaxation)}


def _own_streams() -> tuple[IO[str], IO[str]]:
    """Return stdin and stdout for ourselves, and give libraries nothing to read and stderr."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # Also of what is written past Python's own streams, by compiled libraries.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def _read(requests: IO[str], lines: SimpleQueue[str]) -> None:
    for line in requests:
        lines.put(line)
    os._exit(0)


def _write(replies: IO[str], reply: Mapping[str, object]) -> None:
    try:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    main()
