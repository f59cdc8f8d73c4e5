"""Relaxes the samples of an evaluation: each crystal once, over processes or in batches."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from matgen.evaluation.relaxation_cache import RelaxationCache
from matgen.evaluation.relaxation_log import RelaxationKeys, RelaxationLog
from matgen.records import Crystal, Relaxation, Sample
from matgen.roles.executor import Pool
from matgen.roles.relaxer import Relaxer, RelaxerSession


@dataclass(frozen=True)
class Relaxing:
    """How samples are relaxed.

    Attributes:
        relaxer: The potential and its optimiser's settings.
        device: Torch device of the potential.
        threads: Torch threads of a potential that runs in this process, 0 for torch's choice; in
            worker processes it is always one.
        cache: Relaxations of earlier runs, or None.
    """

    relaxer: Relaxer
    device: str
    threads: int = 0
    cache: RelaxationCache | None = None

    def relaxations(
        self,
        samples: Sequence[Sample],
        pool: Pool,
        log: RelaxationLog | None,
        observer: Callable[[int, int], None],
    ) -> list[Relaxation]:
        """Return one relaxation per sample; equal crystals, and those known, are not relaxed again.

        Args:
            samples: Failed ones give failed relaxations.
            pool: Where crystals are relaxed one by one; a potential that takes many at once does
                so in this process.
            log: What this run has finished, added to as relaxations come in.
            observer: Told how many of how many crystals are done.

        Raises:
            MissingDependency: the relaxer's package or weights.
        """
        keys_of = RelaxationKeys(self.relaxer, self.device)
        keys = ["" if s.crystal is None else keys_of.of(s.crystal) for s in samples]
        finished = {} if log is None else {key: log.known[key] for key in keys if key in log.known}
        left: dict[str, Crystal] = {
            key: sample.crystal
            for key, sample in zip(keys, samples, strict=True)
            if sample.crystal is not None and key not in finished
        }
        total = len(finished) + len(left)
        observer(len(finished), total)
        for key, relaxation in self._found(left, pool):
            finished[key] = relaxation
            if log is not None:
                log.append([(key, relaxation)])
            observer(len(finished), total)
        return [
            finished[key]
            if key
            else Relaxation(None, error=sample.error or "no crystal was sampled")
            for key, sample in zip(keys, samples, strict=True)
        ]

    def _found(self, left: dict[str, Crystal], pool: Pool) -> Iterator[tuple[str, Relaxation]]:
        """Yield what the cache has, then what has to be relaxed, in order."""
        for key in list(left):
            known = None if self.cache is None else self.cache.get(key)
            if known is not None:
                del left[key]
                yield key, known
        try:
            for key, relaxation in zip(left, self._relaxed(left, pool), strict=True):
                if self.cache is not None:
                    self.cache.put(key, relaxation, self.relaxer)
                yield key, relaxation
        finally:
            _session.cache_clear()

    def _relaxed(self, left: dict[str, Crystal], pool: Pool) -> Iterator[Relaxation]:
        crystals = list(left.values())
        if not crystals:
            return iter(())
        if self.relaxer.takes_many(self.device):
            session = _session(self.relaxer, self.device, self.threads)
            return map(_checked, session.relax(crystals))
        task = partial(_relax_one, relaxer=self.relaxer, device=self.device, threads=self.threads)
        # An iterator has no length to be cut into large pieces by: each crystal comes back, and is
        # kept, as soon as it is done.
        return pool.map(task, iter(crystals))


def _relax_one(crystal: Crystal, *, relaxer: Relaxer, device: str, threads: int) -> Relaxation:
    (relaxation,) = _session(relaxer, device, threads).relax([crystal])
    return _checked(relaxation)


def _checked(relaxation: Relaxation) -> Relaxation:
    energies = (relaxation.energy, relaxation.initial_energy)
    if not all(energy is None or math.isfinite(energy) for energy in energies):
        return Relaxation(None, n_steps=relaxation.n_steps, error="the energy is not finite")
    return relaxation


@lru_cache(maxsize=1)
def _session(relaxer: Relaxer, device: str, threads: int) -> RelaxerSession:
    """Open the potential once per process that relaxes."""
    in_worker = multiprocessing.parent_process() is not None
    # Workers that each take all cores slow each other down manyfold. One that supervises a process
    # survives whatever a crystal does to it.
    return relaxer.session(device, threads=1 if in_worker else threads, apart=in_worker)
