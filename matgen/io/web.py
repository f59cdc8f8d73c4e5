"""HTTP with patience: what passes is tried again, what does not is one sentence.

Nothing here reads settings or prints; ``requests`` itself honours the proxy settings of the
machine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from matgen.errors import BadFile, UserError

if TYPE_CHECKING:
    from requests import Response, Session

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 15
SILENCE_SECONDS = 60
"""A server that sends nothing for so long has gone."""
LONGEST_WAIT_SECONDS = 120.0
_PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
"""Statuses that another try may mend."""


class Transient(Exception):
    """A failure that another try may mend.

    Attributes:
        wait_seconds: How long the server asked to wait; 0 where it did not say.
    """

    def __init__(self, reason: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Patience:
    """How often to try, and how to wait in between.

    Attributes:
        tries: Tries in a row that may fail; one that gets further starts the count again.
        sleep: Waits so many seconds.
    """

    tries: int = 6
    sleep: Callable[[float], None] = time.sleep

    def keep_trying(self, act: Callable[[], T], *, progress: Callable[[], int], what: str) -> T:
        """Return what ``act`` returns, trying again after transient failures, ever later.

        Args:
            act: Raises ``Transient`` for a failure that may pass.
            progress: How far the work is; a try that gets further is no failure in a row.
            what: The thing wanted, for the message.

        Raises:
            UserError: too many failures in a row; the last one is named.
        """
        failed, reached = 0, progress()
        while True:
            try:
                return act()
            except Transient as error:
                failed, reached = (0 if progress() > reached else failed) + 1, progress()
                if failed >= self.tries:
                    raise UserError(
                        f"cannot get {what}: {error} ({failed} tries); check the network and run "
                        "the same command again: it goes on where this one stopped"
                    ) from None
                wait = min(error.wait_seconds or 2.0 ** (failed - 1), LONGEST_WAIT_SECONDS)
                log.info("%s; trying again in %g s", error, wait)
                self.sleep(wait)


def new_session() -> Session:
    """Return a session that says who asks."""
    import requests

    from matgen import __version__

    session = requests.Session()
    session.headers["User-Agent"] = f"matgen/{__version__}"
    return session


def get(
    session: Session, url: str, headers: Mapping[str, str] | None = None, *, where: str
) -> Response:
    """Return a streamed answer of status 200, 206 or 416.

    Args:
        where: What to do with a file that one has got otherwise, for messages.

    Raises:
        Transient: no connection, or a status that passes.
        UserError: any other status.
    """
    import requests

    try:
        answer = session.get(
            url,
            headers=dict(headers or {}),
            stream=True,
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
        )
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ContentDecodingError):
        raise Transient(f"{host(url)} cannot be reached") from None
    except requests.RequestException as error:
        raise UserError(f"cannot get {url}: {error}") from None
    status = answer.status_code
    if status in {200, 206, 416}:
        return answer
    answer.close()
    if status in _PASSING:
        wait = _asked_to_wait(answer.headers.get("Retry-After", ""))
        raise Transient(f"{host(url)} answered {status} {answer.reason}", wait_seconds=wait)
    if status in {404, 410}:
        raise UserError(f"{url} is not there any more (status {status}); {where}")
    if status in {401, 403}:
        raise UserError(
            f"{host(url)} refuses {url} (status {status}); it may want a key or an account; {where}"
        )
    raise UserError(f"{host(url)} answered {status} {answer.reason} to {url}; {where}")


def get_json(session: Session, url: str, *, patience: Patience, where: str) -> dict[str, Any]:
    """Return a JSON object; its values are whatever the server gives.

    Raises:
        UserError: not to be had.
        BadFile: the answer is no JSON object.
    """
    import requests

    def act() -> dict[str, Any]:
        with get(session, url, {"Accept": "application/json"}, where=where) as answer:
            try:
                value = answer.json()
            except requests.exceptions.JSONDecodeError:
                raise BadFile(f"{url} answered no JSON ({preview(answer.content)})") from None
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                raise Transient(f"{host(url)} cut the connection") from None
        if not isinstance(value, dict):
            raise BadFile(f"{url} answered JSON that is no object")
        return value

    return patience.keep_trying(act, progress=lambda: 0, what=url)


def host(url: str) -> str:
    """Return the name of the server of a URL."""
    from urllib.parse import urlsplit

    return urlsplit(url).netloc


def preview(content: bytes) -> str:
    """Return the start of an answer on one line, for messages."""
    return " ".join(content[:200].decode("utf-8", errors="replace").split())[:80] or "empty"


def _asked_to_wait(value: str) -> float:
    """Return the seconds of a Retry-After header; 0 where it gives a date or nothing."""
    return float(value) if value.strip().isdigit() else 0.0
