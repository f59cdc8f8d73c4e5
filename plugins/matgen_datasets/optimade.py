"""Any provider of OPTIMADE, the common interface of the materials databases.

A small client over ``requests`` and not the one of the ``optimade`` package, because that one keeps
the answers of all providers in memory and cannot go on with an interrupted query.

Source: OPTIMADE specification 1.2, sections "Response Format" and "Structures Entries".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode, urljoin

import numpy as np
from pydantic import Field

from matgen import FetchedDataset, Record
from matgen.crystal.arrays import crystal_of_arrays
from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadFile, BadOptions, CrystalError
from matgen.io.paging import Page, collect, collected
from matgen.io.web import Patience, get_json, new_session
from matgen.records import Crystal, PropertyValue, Skipped, SkippedKind
from matgen.roles.dataset import FetchObserver, Split
from matgen_datasets.held_out import is_held_out

FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species_at_sites",
    "species",
    "nperiodic_dimensions",
    "structure_features",
    "last_modified",
)
_PATIENCE = Patience()


class Optimade(FetchedDataset):
    """Structures of one OPTIMADE provider, periodic along three vectors and without disorder.

    A share of the reduced formulas is held out for validation.
    """

    name = "optimade"
    cites = ("Evans et al., Digital Discovery 3, 1509 (2024)",)
    selects: ClassVar[tuple[str, ...]] = ("base_url", "filter", "properties")

    base_url: str = ""
    """Where the provider is, with or without the version: `https://oqmd.org/optimade`."""
    filter: str = "nperiodic_dimensions=3"
    """In OPTIMADE's language: `elements HAS ALL "Fe","O" AND nelements=2`."""
    properties: dict[str, str] = Field(default_factory=dict)
    """Attribute of the provider to TITLE:UNIT: `{_oqmd_band_gap = "band_gap:eV"}`."""
    page_size: int = Field(default=100, ge=1)
    """Entries to ask for at a time; providers may give fewer."""
    val_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the reduced formulas that is held out."""

    @property
    def units(self) -> Mapping[str, str]:
        """The units that the user states."""
        return dict(self._columns().values())

    def fetch(self, folder: Path, *, observer: FetchObserver, api_key: str = "") -> None:
        """Follow the pages of the query, from where an earlier call stopped."""
        del api_key
        if not self.base_url:
            raise BadOptions(
                "optimade needs a provider: --set dataset.base_url=https://oqmd.org/optimade "
                "(a list of them is at https://www.optimade.org/providers-dashboard)"
            )
        wanted = {
            "filter": self.filter,
            "page_limit": self.page_size,
            "response_format": "json",
            "response_fields": ",".join((*FIELDS, *self._columns())),
        }
        base = self.base_url.rstrip("/")
        if not base.rsplit("/", 1)[-1].startswith("v1"):
            base += "/v1"
        with new_session() as session:

            def turn(url: str) -> Page:
                answer = get_json(
                    session,
                    url,
                    patience=_PATIENCE,
                    where="look at dataset.base_url and dataset.filter",
                )
                return _page(answer, url)

            query = {"url": base, "filter": self.filter, "fields": wanted["response_fields"]}
            first = f"{base}/structures?{urlencode(wanted)}"
            collect(folder / "structures.jsonl", query, first, turn, observer=observer)

    def files(self, folder: Path) -> Sequence[Path]:
        """Return the file of all pages."""
        return [folder / "structures.jsonl"]

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in the order of the provider."""
        path = self.files(self.fetched_folder())[0]
        seen: set[str] = set()
        entries = collected(path, damaged=lambda reason: self.damaged(path, reason))
        for number, entry in enumerate(entries):
            name = str(entry.get("id", ""))
            kind: SkippedKind = "same id" if name in seen else "unreadable"
            try:
                if not name or name in seen:
                    raise BadCrystal(f"the id {name!r} is used twice" if name else "no id")
                attributes = entry.get("attributes")
                if not isinstance(attributes, dict):
                    raise BadCrystal("it has no attributes")
                crystal = crystal_of_attributes(attributes)
                values = self._values(attributes)
            except CrystalError as error:
                place = f"{path.name}#{number}"
                if on_skip is None:
                    raise BadCrystal(f"{place} ({name}): {error}") from None
                on_skip(Skipped(place, f"{name}: {error}", kind, name))
                continue
            seen.add(name)
            if is_held_out(crystal, share=self.val_fraction) == (split == "val"):
                yield Record(name, crystal, values)

    def _columns(self) -> dict[str, tuple[str, str]]:
        """Return attribute to title and unit."""
        columns = {}
        for attribute, told in self.properties.items():
            title, _, unit = told.partition(":")
            if not title or not unit:
                raise BadOptions(
                    f"dataset.properties: {attribute} = {told!r}: write TITLE:UNIT, band_gap:eV"
                )
            columns[attribute] = (title, unit)
        return columns

    def _values(self, attributes: Mapping[str, Any]) -> dict[str, PropertyValue]:
        values: dict[str, PropertyValue] = {}
        for attribute, (title, _) in self._columns().items():
            value = attributes.get(attribute)
            if isinstance(value, str):
                values[title] = value
            elif isinstance(value, int | float) and math.isfinite(value):
                values[title] = float(value)
            elif value is not None:
                raise BadCrystal(f"{attribute} is neither a number nor a text")
        return values


def crystal_of_attributes(attributes: Mapping[str, Any]) -> Crystal:  # JSON values
    """Return the crystal of an entry's attributes.

    Raises:
        BadCrystal: not periodic along three vectors, a vacancy, a mixed or unknown site, or
            attributes that are missing or do not fit each other.
    """
    n_periodic = attributes.get("nperiodic_dimensions")
    if n_periodic != 3:
        raise BadCrystal(f"it is periodic along {n_periodic} vectors; expected 3")
    if "unknown_positions" in (attributes.get("structure_features") or ()):
        raise BadCrystal("some of its positions are unknown")
    try:
        kinds = {species["name"]: _element(species) for species in attributes["species"]}
        numbers = np.array([kinds[name] for name in attributes["species_at_sites"]], dtype=np.int64)
        lattice = np.array(attributes["lattice_vectors"], dtype=np.float64)
        positions = np.array(attributes["cartesian_site_positions"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise BadCrystal(f"its attributes cannot be read: {told}") from None
    return crystal_of_arrays(lattice, positions, numbers, given="cartesian")


def _element(species: Mapping[str, Any]) -> int:
    """Return the atomic number of a species that is one element, fully there.

    Raises:
        BadCrystal: a vacancy, a mixture, a partial occupation, or no element.
    """
    symbols, concentration = species["chemical_symbols"], species["concentration"]
    whole = len(symbols) == 1 and abs(float(concentration[0]) - 1.0) < 1e-6
    if not whole or species.get("attached"):
        parts = ", ".join(f"{s} {c}" for s, c in zip(symbols, concentration, strict=False))
        raise BadCrystal(
            f"its species {species['name']!r} is no single element fully there ({parts})"
        )
    return atomic_number(symbols[0])


def _page(answer: Mapping[str, Any], url: str) -> Page:
    """Return the entries of an answer and where the next ones are.

    Raises:
        BadFile: no answer of OPTIMADE.
    """
    data = answer.get("data")
    if not isinstance(data, list):
        raise BadFile(f"{url} answers without a list of data; is it an OPTIMADE provider?")
    following = (answer.get("links") or {}).get("next")
    if isinstance(following, dict):
        following = following.get("href")
    meta = answer.get("meta") or {}
    total = meta.get("data_returned")
    # Some providers give a next link after the last page, too.
    if not data or meta.get("more_data_available") is False:
        following = None
    return Page(
        data,
        urljoin(url, following) if following else "",
        total if isinstance(total, int) else None,
    )
