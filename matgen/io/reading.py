"""Crystals and samples from files; what cannot be read is reported, never silently dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matgen.errors import BadCrystal, BadFile
from matgen.io.entries import MAX_SITES, Entry
from matgen.io.formats import MANIFEST, is_zip
from matgen.io.shard_manifest import shards_of
from matgen.io.sources import entries
from matgen.io.unpacking import open_zip, read_member
from matgen.records import PropertyValue, Record, Sample, Skipped


def read_crystals(
    path: Path,
    *,
    on_skip: Callable[[Skipped], None] | None = None,
    max_sites: int = MAX_SITES,
) -> Iterator[Record]:
    """Yield the crystals of a file, folder or archive in natural order, with their properties.

    Args:
        path: CIF, extended XYZ, POSCAR, JSON lines, Parquet, csv with a ``cif`` column (plain or
            gzipped), a zip, a tar or a folder of these.
        on_skip: Called for every entry that is no crystal; without it such an entry raises.
        max_sites: A cell with more sites is such an entry.

    Raises:
        BadFile: the file as a whole cannot be read.
        BadCrystal: an entry is no crystal we can work with, and nobody asked to skip it.
    """
    for entry in entries(path, max_sites=max_sites):
        if entry.crystal is None and not entry.error:
            continue  # tells how many samples were asked for, and is none itself
        if entry.crystal is None:
            if on_skip is None:
                raise BadCrystal(f"{entry.source}: {entry.error}")
            on_skip(Skipped(entry.source, entry.error))
            continue
        yield Record(entry.name, entry.crystal, _properties(entry.info))


def read_samples(path: Path) -> tuple[list[Sample], int]:
    """Return samples in the order asked for, and how many were asked for.

    A file that ``matgen sample`` wrote gives back its samples, failed ones included; any other
    gives one sample per entry, bad entries as failed samples, so that no rate loses its
    denominator. Overlapping sites are no bad entry here: such a crystal is what was sampled.

    Raises:
        BadFile: the file as a whole cannot be read.
    """
    shards = shards_of(path) if path.is_dir() else None
    if shards is not None:
        return _of_shards(shards)
    manifest = _manifest_of(path)
    if manifest is not None:
        return _with_manifest(path, manifest)
    read = list(entries(path))
    asked = max([0, *(int(entry.info.get("asked", 0)) for entry in read)])
    read = [entry for entry in read if entry.crystal is not None or entry.error]
    samples = [_sample(entry, number) for number, entry in enumerate(read)]
    asked = max(asked, len(samples))
    known = {sample.index for sample in samples}
    if len(known) < len(samples):
        # Two files joined into one: their indices clash, their order is all there is.
        samples = [_sample(entry, number, renumber=True) for number, entry in enumerate(read)]
    return sorted(samples, key=lambda sample: sample.index), asked


def _of_shards(shards: Sequence[Path]) -> tuple[list[Sample], int]:
    """Return the samples of files whose indices follow each other."""
    samples: list[Sample] = []
    asked = 0
    for shard in shards:
        found, asked_here = read_samples(shard)
        samples += found
        asked += asked_here
    return samples, asked


def _manifest_of(path: Path) -> list[dict[str, Any]] | None:  # JSON values
    """Return the manifest of a folder or zip that we wrote, None where there is none."""
    text = None
    if path.is_dir() and (path / MANIFEST).exists():
        text = (path / MANIFEST).read_text(encoding="utf-8")
    elif is_zip(path.name) and path.exists():
        with open_zip(path) as archive:
            if MANIFEST in archive.namelist():
                text = read_member(archive, archive.getinfo(MANIFEST)).decode()
    try:
        return None if text is None else [json.loads(line) for line in text.splitlines() if line]
    except json.JSONDecodeError as error:
        raise BadFile(f"{path}: its {MANIFEST} is damaged: {error}") from None


def _with_manifest(path: Path, manifest: list[dict[str, Any]]) -> tuple[list[Sample], int]:
    written = any(row["file"] for row in manifest)
    by_name = {Path(e.source.rpartition(":")[2]).name: e for e in entries(path)} if written else {}
    samples = []
    for row in manifest:
        entry = by_name.get(row["file"]) if row["file"] else None
        error = str(row["error"])
        if entry is None and row["file"]:
            error = f"{row['file']} is missing"
        crystal = None if entry is None else entry.crystal or entry.overlapping
        if entry is not None and crystal is None:
            error = entry.error
        samples.append(
            Sample(
                int(row["index"]),
                crystal,
                row["log_prob"],
                row["log_mass"],
                row["requested"],
                row["achieved"],
                error,
                int(row.get("attempts", 1)),
            )
        )
    return samples, len(samples)


def _sample(entry: Entry, number: int, *, renumber: bool = False) -> Sample:
    info = entry.info
    crystal = entry.crystal or entry.overlapping
    return Sample(
        number if renumber else int(info.get("index", number)),
        crystal,
        _number(info.get("log_prob")),
        _number(info.get("log_mass")),
        _named(info, "requested"),
        _named(info, "achieved"),
        str(info.get("error", "")) or (entry.error if crystal is None else ""),
        int(_number(info.get("attempts")) or 1),
    )


def _named(info: Mapping[str, Any], what: str) -> dict[str, PropertyValue]:  # JSON-like values
    """Return ``{"density": 4.0}`` of ``requested={...}`` or of ``requested_density=4.0``."""
    nested = info.get(what)
    if isinstance(nested, Mapping):
        return _properties(nested)
    flat = {k.removeprefix(f"{what}_"): v for k, v in info.items() if k.startswith(f"{what}_")}
    return _properties(flat)


def _properties(info: Mapping[str, Any]) -> dict[str, PropertyValue]:  # JSON-like values
    """Return the finite numbers and texts; a missing value is an absent key."""
    kept: dict[str, PropertyValue] = {}
    for name, value in info.items():
        if isinstance(value, str):
            kept[name] = value
        elif isinstance(value, int | float) and math.isfinite(value):
            kept[name] = float(value)
    return kept


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
