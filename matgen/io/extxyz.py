"""Frames of extended XYZ.

Text is always written in quotes and read back as text when quoted: NaN and InF are compounds, F is
fluorine, and readers that guess make numbers and truth values of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from matgen.elements import atomic_number, symbols
from matgen.errors import BadCrystal, BadFile
from matgen.records import Crystal, PropertyValue

_PAIR = re.compile(
    r"""\s*(?P<key>[^\s=]+|"[^"]*")\s*=\s*(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<bare>\S+))"""
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_DEFAULT_COLUMNS = "species:S:1:pos:R:3"


def split_frames(text: str, *, first: int = 0) -> list[list[str]]:
    """Return the lines of each frame: count, comment, one per site.

    Args:
        first: Number of the first frame, for messages.

    Raises:
        BadFile: no extended XYZ, or cut short; the message says in which frame.
    """
    # Not splitlines: a comment may hold other characters that Python takes for line ends.
    lines = text.split("\n")
    frames: list[list[str]] = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        if not lines[start].strip().isdigit():
            raise BadFile(
                f"frame {first + len(frames)} begins with {lines[start][:40]!r}; expected a number "
                "of sites"
            )
        end = start + int(lines[start]) + 2
        frame = lines[start:end]
        if len(frame) < end - start or (len(frame) > 2 and not frame[-1].strip()):
            raise BadFile(f"the file ends within frame {first + len(frames)}; it is truncated")
        frames.append(frame)
        start = end
    return frames


def frame_info(comment: str) -> tuple[dict[str, PropertyValue], dict[str, str]]:
    """Return what a comment tells beside the cell, and the raw texts of all its keys."""
    info: dict[str, PropertyValue] = {}
    raw: dict[str, str] = {}
    for match in _PAIR.finditer(comment):
        key = match["key"].strip('"')
        if match["text"] is None:
            raw[key] = match["bare"]
            info[key] = float(raw[key]) if _NUMBER.fullmatch(raw[key]) else raw[key]
        else:
            raw[key] = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), match["text"])
            info[key] = raw[key]
    for key in ("Lattice", "Properties", "pbc"):
        info.pop(key, None)
    return info, raw


def frame_crystal(frame: list[str], raw: Mapping[str, str]) -> Crystal:
    """Return the crystal of a frame.

    Raises:
        BadCrystal: no periodic cell, unknown elements, or columns that do not fit.
    """
    cell = raw.get("Lattice", "").split()
    if len(cell) != 9:
        raise BadCrystal("the frame has no Lattice of 9 numbers, so it is not periodic")
    if any(word.lower() not in ("t", "true", "1") for word in raw.get("pbc", "T T T").split()):
        raise BadCrystal(f'pbc is "{raw["pbc"]}"; expected a crystal, "T T T"')
    columns = _columns(raw.get("Properties", _DEFAULT_COLUMNS))
    rows = [line.split() for line in frame[2:]]
    width = max(stop for _, stop in columns.values())
    short = next((i for i, row in enumerate(rows) if len(row) < width), None)
    if short is not None:
        raise BadCrystal(f"site {short} has {len(rows[short])} columns; expected {width}")
    if "species" not in columns or "pos" not in columns:
        raise BadCrystal("the frame lacks the column species or pos")
    species = columns["species"][0]
    numbers = np.array([atomic_number(row[species]) for row in rows], dtype=np.int64)
    try:
        lattice = np.array(cell, dtype=np.float64).reshape(3, 3)
        positions = np.array([row[slice(*columns["pos"])] for row in rows], dtype=np.float64)
        oxidation = None
        if "oxidation" in columns:
            state = columns["oxidation"][0]
            oxidation = np.array([int(row[state]) for row in rows], dtype=np.int64)
        frac = positions.reshape(-1, 3) @ np.linalg.inv(lattice)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise BadCrystal(f"the frame's numbers make no crystal: {error}") from None
    return Crystal(lattice, frac, numbers, oxidation)


def frame_text(crystal: Crystal, info: Mapping[str, PropertyValue]) -> str:
    """Return a frame, every digit kept, oxidation states as a column where there are any."""
    lattice = " ".join(repr(x) for x in crystal.lattice.ravel().tolist())
    columns = _DEFAULT_COLUMNS + ("" if crystal.oxidation is None else ":oxidation:I:1")
    comment = f'Lattice="{lattice}" Properties={columns} pbc="T T T"{_written(info)}'
    states = [""] * crystal.n_sites
    if crystal.oxidation is not None:
        states = [f" {state}" for state in crystal.oxidation.tolist()]
    rows = [
        f"{symbols[z]} {x!r} {y!r} {w!r}{state}"
        for z, (x, y, w), state in zip(
            crystal.numbers.tolist(),
            (crystal.frac @ crystal.lattice).tolist(),
            states,
            strict=True,
        )
    ]
    return "\n".join([str(crystal.n_sites), comment, *rows]) + "\n"


def empty_frame(info: Mapping[str, PropertyValue]) -> str:
    """Return a frame without sites: what is told where there is no crystal to tell it with."""
    return f"0\nProperties={_DEFAULT_COLUMNS}{_written(info)}\n"


def _columns(specification: str) -> dict[str, tuple[int, int]]:
    """Return name to first and past-the-last column of ``name:kind:width`` triples."""
    parts = specification.split(":")
    columns = {}
    first = 0
    for name, width in zip(parts[::3], parts[2::3], strict=False):
        if not width.isdigit():
            break
        columns[name] = (first, first + int(width))
        first += int(width)
    if len(columns) * 3 != len(parts):
        raise BadCrystal(f"Properties={specification} is no list of name:kind:width")
    return columns


def _written(info: Mapping[str, PropertyValue]) -> str:
    return "".join(f" {key}={_value(value)}" for key, value in info.items())


def _value(value: PropertyValue) -> str:
    if not isinstance(value, str):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
