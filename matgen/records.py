"""The values that flow: from a dataset's record over tokens and drafts to samples and measurements.

Arrays inside, library objects at the edges: this module alone turns a crystal into a pymatgen
``Structure`` or an ase ``Atoms`` and back (both imported only when asked for).

Axis letters: N sites, L tokens of one sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

SkippedKind: TypeAlias = Literal["unreadable", "same id", "held out elsewhere"]

PropertyValue: TypeAlias = float | str
"""A scalar in its canonical unit, or a text such as a reduced formula."""


class ValueRange(NamedTuple):
    """Values asked for as a range: each sample gets one of its own."""

    low: float
    high: float


AskedValue: TypeAlias = PropertyValue | ValueRange
"""What may be asked for: a value, or a range of them."""


@dataclass(frozen=True, eq=False, slots=True)
class Crystal:
    """A periodic crystal as arrays.

    Attributes:
        lattice: (3, 3) float64, lattice vectors as rows, Å.
        frac: (N, 3) float64, fractional coordinates, any real.
        numbers: (N,) int64, atomic numbers 1 to 118.
        oxidation: (N,) int64 formal oxidation states, or None where none were assigned.
    """

    lattice: NDArray[np.float64]
    frac: NDArray[np.float64]
    numbers: NDArray[np.int64]
    oxidation: NDArray[np.int64] | None = None

    @property
    def n_sites(self) -> int:
        """Number of sites in the cell."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Cell volume, Å³, positive for either handedness."""
        return abs(float(np.linalg.det(self.lattice)))

    def take(self, order: NDArray[np.int64]) -> Crystal:
        """Return the same crystal with its sites in another order.

        Args:
            order: (N,) indices, a permutation (or any selection) of the sites.
        """
        oxidation = None if self.oxidation is None else self.oxidation[order]
        return Crystal(self.lattice, self.frac[order], self.numbers[order], oxidation)

    def with_oxidation(self, oxidation: NDArray[np.int64] | None) -> Crystal:
        """Return the same crystal with these formal oxidation states."""
        return Crystal(self.lattice, self.frac, self.numbers, oxidation)

    @classmethod
    def from_structure(cls, structure: Structure) -> Crystal:
        """Return the crystal of a pymatgen structure.

        Raises:
            BadCrystal: a site is disordered or partially occupied, or its species is no element.
        """
        numbers = []
        states: list[float | None] = []
        for index, site in enumerate(structure):
            if not site.is_ordered:
                raise BadCrystal(
                    f"site {index} is disordered ({site.species_string}); only fully occupied "
                    "sites with one element each can be represented"
                )
            # A dummy species has a number, too: a hash.
            number = getattr(site.specie, "Z", 0)
            # The symbol of pymatgen's isotopes is H.
            if getattr(getattr(site.specie, "element", site.specie), "name", "") in {"D", "T"}:
                raise BadCrystal(
                    f"site {index} holds an isotope of hydrogen, and isotopes are not told apart; "
                    "write H"
                )
            if not 1 <= number <= 118:
                raise BadCrystal(f"site {index} holds {site.species_string!r}, which is no element")
            numbers.append(number)
            states.append(getattr(site.specie, "oxi_state", None))
        known = [state for state in states if state is not None and float(state).is_integer()]
        oxidation = np.array(known, dtype=np.int64) if len(known) == len(numbers) else None
        return cls(
            np.array(structure.lattice.matrix, dtype=np.float64),
            np.array(structure.frac_coords, dtype=np.float64),
            np.array(numbers, dtype=np.int64),
            oxidation,
        )

    def to_structure(self, *, oxidation: bool = False) -> Structure:
        """Return a pymatgen structure, decorated with oxidation states only if asked.

        Plain elements are the default because interatomic potentials and structure matchers
        compare species, and a decorated Fe3+ is another species than Fe.
        """
        from pymatgen.core.lattice import Lattice
        from pymatgen.core.periodic_table import Element, Species
        from pymatgen.core.structure import Structure

        elements = [Element.from_Z(int(number)) for number in self.numbers]
        species: list[Element] | list[Species] = elements
        if oxidation and self.oxidation is not None:
            species = [
                Species(element.symbol, int(state))
                for element, state in zip(elements, self.oxidation, strict=True)
            ]
        return Structure(Lattice(self.lattice), species, self.frac)

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Crystal:
        """Return the crystal of an ase ``Atoms``.

        Raises:
            BadCrystal: not periodic along all three axes, or without a cell.
        """
        if not all(atoms.pbc) or np.linalg.matrix_rank(atoms.cell.array) < 3:
            raise BadCrystal("the cell is not periodic along three independent vectors")
        return cls(
            np.array(atoms.cell.array, dtype=np.float64),
            np.array(atoms.get_scaled_positions(wrap=False), dtype=np.float64),
            np.array(atoms.numbers, dtype=np.int64),
        )

    def to_atoms(self) -> Atoms:
        """Return an ase ``Atoms`` with periodic boundaries."""
        from ase import Atoms

        return Atoms(numbers=self.numbers, scaled_positions=self.frac, cell=self.lattice, pbc=True)


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where values of a property come from: values of two sources are two quantities.

    Attributes:
        name: Short, what users write to choose it: ``mp``, ``jarvis``.
        functional: Level of theory, as ``PBE`` or ``OptB88vdW``; empty where nobody said.
    """

    name: str
    functional: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.functional})" if self.functional else self.name


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One row of a dataset.

    Attributes:
        id: Unique within the dataset.
        crystal: The crystal as the dataset has it.
        properties: Property name to value in the unit that the dataset declares; a missing value
            is an absent key.
        sources: Property name to the name of its label source, for the properties that the dataset
            takes from several.
    """

    id: str
    crystal: Crystal
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A dataset or file entry that did not become a record, and why.

    Attributes:
        source: Where it is, for messages.
        reason: In words.
        kind: ``unreadable``: no crystal; ``same id``: an earlier entry has its id; ``held out
            elsewhere``: the material of a row that another part of a mixture holds out.
        id: Of the entry, where it has one.
    """

    source: str
    reason: str
    kind: SkippedKind = "unreadable"
    id: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Tokens:
    """One sequence.

    Attributes:
        ids: (L,) int64 token ids.
        values: (L,) float32, read only where the id is a continuous token; None if the
            representation has no continuous tokens.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False, slots=True)
class Draft:
    """A sequence that a sampler finished (or gave up on), before decoding.

    Attributes:
        index: Which sample of the request stream this is.
        tokens: Prompt and generated tokens.
        log_prob: Natural log-probability of the generated tokens under the undistorted model:
            temperature 1, no mask (with guidance: the guided distribution). Includes the value
            head's density for continuous tokens.
        log_mass: Sum over steps of the log of the model's mass on the allowed tokens; so
            ``log_prob - log_mass`` is the log-probability under the masked model.
        finished: False where the token limit or an empty mask ended it.
        reason: Why it is unfinished, empty otherwise.
        attempts: Times it was begun; more than once where constraints had left no token.
        log_prob_of_kind: Kind of position to its part of ``log_prob``; empty where a sampler does
            not tell.
    """

    index: int
    tokens: Tokens
    log_prob: float
    log_mass: float
    finished: bool = True
    reason: str = ""
    attempts: int = 1
    log_prob_of_kind: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """A generated crystal with what was asked for.

    Attributes:
        index: Position among the samples asked for; also selects its random stream.
        crystal: None where the draft was unfinished (``error`` says why).
        requested: Condition label to the value asked for.
        achieved: Condition label to the value that the crystal itself shows.
        attempts: Times it was begun; more than once where constraints had left no token.
    """

    index: int
    crystal: Crystal | None
    log_prob: float | None = None
    log_mass: float | None = None
    requested: Mapping[str, PropertyValue] = field(default_factory=dict)
    achieved: Mapping[str, PropertyValue] = field(default_factory=dict)
    error: str = ""
    attempts: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class Relaxation:
    """What a relaxer made of one crystal. A failure is a result: ``crystal`` None, ``error`` set.

    Attributes:
        crystal: Relaxed crystal, sites in the order they came.
        energy: Total energy of the relaxed cell on the relaxer's ``energy_scale``, eV.
        initial_energy: Total energy of the cell as it came, eV.
        converged: Forces fell below the relaxer's limit within its caps.
        n_steps: Optimiser steps taken.
        seconds: Wall time spent.
    """

    crystal: Crystal | None
    energy: float | None = None
    initial_energy: float | None = None
    converged: bool = False
    n_steps: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Measurement:
    """What one evaluator found over a cohort.

    Attributes:
        per_sample: Column name to one value per sample asked for (None: not measurable there);
            every column has ``asked`` entries, in the order of the samples.
        summary: Headline figures by name.
        units: Unit of each summary figure and column ("" for plain fractions).
        asked: Samples the user asked for: the denominator of every rate.
        notes: Settings and counts that a reader needs to trust the figures.
        intervals: 95 % intervals of figures that cannot be had from a column, as those over the
            crystals of a truth; the others are worked out from the columns.
        skipped: Reason why nothing was measured (an unmet need), empty otherwise.
    """

    asked: int
    per_sample: Mapping[str, list[float | str | bool | None]] = field(default_factory=dict)
    summary: Mapping[str, float | None] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str | float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    skipped: str = ""
