"""Relaxers that run in a process of their own: in another environment, or so that they may die."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from matgen.errors import WorkerDied
from matgen.evaluation.relaxation_json import crystal_to_json, relaxation_from_json
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import RelaxerSession
from matgen.worker_process import NoAnswer, WorkerProcess

if TYPE_CHECKING:
    from matgen.roles.relaxer import Relaxer

log = logging.getLogger(__name__)

_OPENING_SECONDS: Final = 1800.0
"""Weights may be downloaded."""
_DESCRIBING_SECONDS: Final = 300.0
"""A large weights file is read for its digest."""
_GRACE: Final = 1.5
_GRACE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Place:
    """Where a relaxer belongs.

    Attributes:
        use: Qualified name that plugins register it under.
        python: Interpreter of its environment, empty for the one that runs us.
        told: Where the user said so, for messages.
    """

    use: str
    python: str = ""
    told: str = ""


class WorkerSession(RelaxerSession):
    """A relaxer opened in a process of its own.

    A relaxation that kills the process is tried once more in a new one, and is a failure if that
    dies too; one that takes no end is a failure at the hard limit, half as much again as the
    relaxer's ``max_seconds`` and half a minute. The next crystal gets a new process.
    """

    def __init__(
        self,
        relaxer: Relaxer,
        place: Place,
        device: str,
        *,
        threads: int = 0,
        hard_limit_seconds: float | None = None,
    ) -> None:
        """Start the process and open the relaxer there.

        Raises:
            MissingDependency, BadOptions, WorkerDied: see ``WorkerProcess``.
        """
        self._place = place
        self._opening = {
            "do": "open",
            "component": _saved(relaxer, place),
            "device": device,
            "threads": threads,
        }
        self._takes_many = relaxer.takes_many(device)
        usual = _GRACE * relaxer.max_seconds + _GRACE_SECONDS
        self._limit = usual if hard_limit_seconds is None else hard_limit_seconds
        self._worker: WorkerProcess | None = self._opened()

    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield one relaxation per crystal, in order; a failure says why in ``error``."""
        yield from self._together(crystals) if self._takes_many else map(self._alone, crystals)

    def close(self) -> None:
        """End the process; the next relaxation starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _alone(self, crystal: Crystal) -> Relaxation:
        """Return the relaxation of one crystal, whatever it does to the process."""
        try:
            (relaxation,) = self._answers([crystal])
        except NoAnswer as error:
            return Relaxation(None, seconds=self._limit, error=f"it took no end: {error}")
        except WorkerDied as error:
            log.warning("%s; trying once more", error)
        else:
            return relaxation
        try:
            (relaxation,) = self._answers([crystal])
        except WorkerDied as error:
            return Relaxation(None, error=f"its process died twice: {error}")
        return relaxation

    def _together(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield the relaxations of many; those that a dying process left are tried as halves."""
        if len(crystals) < 2:
            yield from map(self._alone, crystals)
            return
        n_done = 0
        try:
            for relaxation in self._answers(crystals):
                n_done += 1
                yield relaxation
        except WorkerDied as error:
            log.warning("%s; going on with halves of what is left", error)
            left = crystals[n_done:]
            yield from self._together(left[: len(left) // 2])
            yield from self._together(left[len(left) // 2 :])

    def _answers(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield what the process answers.

        Raises:
            WorkerDied: it died, is in the wrong, or took too long; the next call starts another.
        """
        if self._worker is None:
            self._worker = self._opened()
        try:
            self._worker.ask({"do": "relax", "crystals": [crystal_to_json(c) for c in crystals]})
            for n_done in range(len(crystals)):
                reply = self._worker.answer(self._limit * (len(crystals) - n_done))
                try:
                    relaxation = relaxation_from_json(reply["relaxation"])
                except (KeyError, TypeError, ValueError) as error:
                    raise WorkerDied(f"an answer that is no relaxation: {error}") from None
                yield relaxation
        except BaseException:
            # Answers that are still to come belong to nobody.
            self.close()
            raise

    def _opened(self) -> WorkerProcess:
        worker = WorkerProcess(self._place.python, told=self._place.told or self._place.use)
        worker.ask(self._opening)
        worker.answer(_OPENING_SECONDS)
        return worker


def fingerprint_here(relaxer: Relaxer) -> str:
    """Return the release of a potential's package and digests of its files, in this environment."""
    parts = []
    if relaxer.package:
        try:
            parts.append(f"{relaxer.package} {version(relaxer.package)}")
        except PackageNotFoundError:
            parts.append(f"{relaxer.package} not installed")
    for path in relaxer.files():
        if path.is_file():
            with path.open("rb") as file:
                parts.append(f"{path.name} sha256:{file_digest(file, 'sha256').hexdigest()}")
        else:
            parts.append(f"{path.name} missing")
    return ", ".join(parts)


@lru_cache(maxsize=16)
def fingerprint_there(relaxer: Relaxer, place: Place) -> str:
    """Return the same as found in another environment.

    Raises:
        BadOptions, WorkerDied: see ``WorkerProcess``.
    """
    worker = WorkerProcess(place.python, told=place.told or place.use)
    try:
        worker.ask({"do": "describe", "component": _saved(relaxer, place)})
        return str(worker.answer(_DESCRIBING_SECONDS)["described"])
    finally:
        worker.close()


def _saved(relaxer: Relaxer, place: Place) -> dict[str, object]:
    return {
        "role": "relaxer",
        "use": place.use,
        "revision": relaxer.revision,
        "settings": relaxer.model_dump(mode="json"),
    }
