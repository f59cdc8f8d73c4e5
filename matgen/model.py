"""A trained model in Python: what ``matgen sample`` does, and how likely a crystal is.

::

    from matgen import Model

    model = Model.load()
    samples = model.sample(64, conditions={"band_gap": 1.5}, seed=0)
    structures = samples.to_structures()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np

from matgen.asking import checked_request, parse_constraints, with_rules
from matgen.catalog import Catalog
from matgen.crystal.cell import canonical_cell
from matgen.crystal.checks import check_crystal
from matgen.crystal.oxidation import OxidationAssigner
from matgen.devices import pick_device, pick_precision
from matgen.errors import BadCrystal, BadOptions, CrystalError
from matgen.generation.decoder import Request
from matgen.generation.generate import SamplePlan, generate
from matgen.generation.model_decoder import ready_to_sample, sequence_log_probs
from matgen.models.store import find_model
from matgen.plan import resolve_sampler
from matgen.records import AskedValue, Crystal, PropertyValue, Sample, Tokens, ValueRange
from matgen.run_dir import Run, load_model

if TYPE_CHECKING:
    from typing import Unpack

    from ase import Atoms
    from pymatgen.core.structure import Structure

    from matgen.generation.model_decoder import Precision
    from matgen.nn.crystal_model import CrystalModel
    from matgen.roles.constraint import Constraint

_SCORED_TOGETHER: Final = 64
_END: Final = object()


class Asking(TypedDict, total=False):
    """What may be asked for, all of it optional."""

    conditions: Mapping[str, AskedValue]
    """Label to value, or a ``ValueRange``, of which each sample gets one value."""
    constraints: Sequence[str | Constraint]
    """``"formula=LiFeO2"``, ``"charge_neutral"``, or rules."""
    seed: int
    """Sample i depends on (seed, i)."""
    guidance: float | Mapping[str, float] | None
    """One weight, or label to weight."""
    sampler: Mapping[str, Any]  # settings of any type
    """Settings such as ``{"temperature": 0.8, "top_p": 0.9}``, checked by the sampler."""


class Samples(list[Sample]):
    """Samples in the order asked for, failed ones included."""

    @property
    def crystals(self) -> list[Crystal]:
        """The crystals; those that were not finished are left out."""
        return [sample.crystal for sample in self if sample.crystal is not None]

    def to_structures(self) -> list[Structure]:
        """Return the crystals as pymatgen structures."""
        return [crystal.to_structure() for crystal in self.crystals]

    def to_atoms(self) -> list[Atoms]:
        """Return the crystals as ase ``Atoms``."""
        return [crystal.to_atoms() for crystal in self.crystals]


class Model:
    """A trained model with a device; ``load`` makes one."""

    def __init__(
        self, network: CrystalModel, run: Run, catalog: Catalog, device: str, precision: Precision
    ) -> None:
        """Bind; users call ``load``."""
        self.run = run
        self._catalog = catalog
        self._device = device
        self._precision: Precision = precision
        self._network = ready_to_sample(network, device=device, precision=precision)

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, device: str = "auto", precision: str = "auto"
    ) -> Model:
        """Read a run directory.

        Args:
            path: Of the run, or a name that ``matgen model list`` shows; the shipped model if
                left out.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
            precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.

        Raises:
            BadFile, NewerFormat, UnknownName: no run, one from a newer matgen, a missing plugin.
        """
        catalog = Catalog.load()
        where = pick_device(device)
        network, run = load_model(find_model(path), catalog, device=where)
        return cls(network, run, catalog, where, pick_precision(precision, where))

    @property
    def conditions(self) -> tuple[str, ...]:
        """Labels of what can be asked for."""
        return tuple(condition.label for condition in self.run.spec.conditions)

    def sample(self, n: int, **asked: Unpack[Asking]) -> Samples:
        """Return n samples, the same ones as ``matgen sample`` with the same arguments gives.

        Args:
            n: How many.
            asked: See ``Asking``.

        Raises:
            BadOptions, UnknownName: as the command says.
        """
        return Samples(self.stream(n, **asked))

    def stream(self, n: int, **asked: Unpack[Asking]) -> Iterator[Sample]:
        """Yield the samples of ``sample`` by ascending index, as soon as they are there."""
        if n < 1:
            raise BadOptions(f"{n} samples: ask for one at least")
        conditions = self.run.spec.conditions
        given = asked.get("constraints", ())
        texts = [rule for rule in given if isinstance(rule, str)]
        rules = (
            *parse_constraints(texts, self._catalog, self.run),
            *(rule for rule in given if not isinstance(rule, str)),
        )
        request = checked_request(asked.get("conditions", {}), conditions)
        plan = SamplePlan(
            model=self._network,
            sampler=resolve_sampler(
                self._catalog,
                name=None,
                temperatures=(),
                flags={},
                settings=(),
                fields=asked.get("sampler", {}),
            ),
            constraints=rules,
            grid=tuple(with_rules([request], rules, conditions)),
            n=n,
            seed=asked.get("seed", 0),
            guidance=asked.get("guidance"),
            device=self._device,
            precision=self._precision,
        )
        return generate(plan)

    async def stream_async(self, n: int, **asked: Unpack[Asking]) -> AsyncIterator[Sample]:
        """Yield the samples of ``stream``; the event loop stays free while they are drawn."""
        samples = self.stream(n, **asked)
        while True:
            drawn = await asyncio.to_thread(next, samples, _END)
            if not isinstance(drawn, Sample):
                return
            yield drawn

    def log_prob(
        self,
        crystals: Sequence[Crystal | Structure | Atoms],
        *,
        conditions: Mapping[str, PropertyValue] | None = None,
        kinds: Sequence[str] | None = None,
    ) -> list[float | None]:
        """Return the natural log-probability of each crystal; None where it cannot be written.

        Each is brought into its canonical cell, given oxidation states and written in the model's
        ordering, as training data are; a random ordering writes it in one order out of many.

        Args:
            crystals: Ours, pymatgen's or ase's.
            conditions: What is asked for; empty for the unconditional model.
            kinds: Sum over these kinds of positions only, such as ``("coordinate", "lattice")``:
                log p(structure | composition), as far as the order of writing allows.

        Raises:
            BadOptions: a condition or kind that the model does not know.
        """
        checked = checked_request(conditions or {}, self.run.spec.conditions)
        asked = {k: v for k, v in checked.items() if not isinstance(v, ValueRange)}
        if len(asked) < len(checked):
            raise BadOptions("log_prob takes one value per condition, no range")
        representation = self.run.spec.representation
        names = representation.grammar().kind_names
        if kinds is not None and (unknown := sorted(set(kinds) - set(names))):
            raise BadOptions(f"kinds {', '.join(unknown)}: the model has {', '.join(names)}")
        written = [self._tokens(_crystal(given)) for given in crystals]
        places = [place for place, tokens in enumerate(written) if tokens is not None]
        found: list[float | None] = [None] * len(written)
        for start in range(0, len(places), _SCORED_TOGETHER):
            chunk = places[start : start + _SCORED_TOGETHER]
            requests = [Request(0, tokens, asked) for p in chunk if (tokens := written[p])]
            per_token = sequence_log_probs(self._network, requests, device=self._device)
            wanted = [i for i, name in enumerate(names) if kinds is None or name in kinds]
            for place, log_probs, request in zip(chunk, per_token, requests, strict=True):
                positions = representation.position_kinds(request.prompt)[1:]
                found[place] = float(log_probs[np.isin(positions, wanted)].sum())
        return found

    def _tokens(self, crystal: Crystal | None) -> Tokens | None:
        if crystal is None:
            return None
        try:
            check_crystal(crystal)
            canonical = canonical_cell(crystal)
            states = OxidationAssigner().assign(canonical).oxidation
            return self.run.spec.representation.encode(
                canonical.with_oxidation(states), self.run.spec.ordering, np.random.default_rng(0)
            )
        except CrystalError:
            return None


def _crystal(given: Crystal | Structure | Atoms) -> Crystal | None:
    if isinstance(given, Crystal):
        return given
    from pymatgen.core.structure import Structure

    try:
        if isinstance(given, Structure):
            return Crystal.from_structure(given)
        return Crystal.from_atoms(given)
    except BadCrystal:
        return None
