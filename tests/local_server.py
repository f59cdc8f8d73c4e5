"""A server on 127.0.0.1 that gives what a test put there, and can misbehave as real ones do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One answer.

    Attributes:
        cut_after: Bytes of the body after which the connection is cut; -1 for never.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = -1


@dataclass
class Asked:
    """One request that came in."""

    path: str
    headers: dict[str, str]


Handler = Callable[[Asked], Answer]


@dataclass
class Server:
    """A running server.

    Attributes:
        asked: Every request so far.
        handler: Answers them; set it before the first.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)
    handler: Handler = lambda _: Answer(status=404)


def file_handler(content: bytes, *, etag: str = '"one"', **headers: str) -> Handler:
    """Answer as a server of files does: whole, or from the byte asked for if it is that version."""

    def handle(asked: Asked) -> Answer:
        known = {"ETag": etag, **headers}
        start = asked.headers.get("Range", "")
        if start.startswith("bytes=") and asked.headers.get("If-Range", etag) == etag:
            first = int(start.removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                return Answer(b"", 416, {**known, "Content-Range": f"bytes */{len(content)}"})
            spoken = f"bytes {first}-{len(content) - 1}/{len(content)}"
            return Answer(content[first:], 206, {**known, "Content-Range": spoken})
        return Answer(content, 200, known)

    return handle


@contextmanager
def serving(handler: Handler | None = None) -> Iterator[Server]:
    """Run a server on a free port."""

    class Give(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = Asked(self.path, dict(self.headers.items()))
            server.asked.append(asked)
            answer = server.handler(asked)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            cut = answer.cut_after
            self.wfile.write(answer.body if cut < 0 else answer.body[:cut])
            if cut >= 0:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Give) as running:
        server = Server(f"http://127.0.0.1:{running.server_port}")
        if handler is not None:
            server.handler = handler
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            running.shutdown()
            thread.join()
