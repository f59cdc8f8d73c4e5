"""What the tests of calculations share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from matgen import Crystal

PSEUDO = Path("/usr/share/espresso/pseudo")
"""Where Debian's quantum-espresso-data puts its few pseudopotentials."""

needs_espresso = pytest.mark.skipif(
    shutil.which("pw.x") is None or not PSEUDO.is_dir(),
    reason="pw.x is not installed: apt install quantum-espresso quantum-espresso-data",
)


def silicon(a: float = 3.9) -> Crystal:
    """Diamond silicon; a of the primitive cell, Å."""
    lattice = a / np.sqrt(2) * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    frac = np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]])
    return Crystal(lattice, frac, np.array([14, 14]))


def iron(a: float = 2.83) -> Crystal:
    """Body-centred iron; a of the cube, Å."""
    lattice = a / 2 * np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
    return Crystal(lattice, np.zeros((1, 3)), np.array([26]))


def header(element: str, functional: str = "PBE", valence: float = 4.0, **more: str) -> str:
    """Return the header of a UPF file, version 2."""
    rest = " ".join(f'{key}="{value}"' for key, value in more.items())
    return (
        f'<UPF version="2.0.1">\n<PP_HEADER element="{element}" functional="{functional}" '
        f'z_valence="{valence}" {rest}/>\n'
    )


def old_header(element: str, functional: str, valence: float, told: str = "Scalar") -> str:
    """Return the header of a UPF file, version 1."""
    return (
        f"<PP_INFO>\nThe Pseudo was generated with a {told}-Relativistic Calculation\n</PP_INFO>\n"
        f"<PP_HEADER>\n   0          Version Number\n  {element}                   Element\n"
        f"   US                  Ultrasoft pseudopotential\n"
        f" {functional}    Exchange-Correlation functional\n"
        f"  {valence}      Z valence\n</PP_HEADER>\n"
    )
