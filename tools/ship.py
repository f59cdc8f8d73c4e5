"""Make a run the shipped default: weights in bfloat16, nothing that is of one machine.

    python tools/ship.py runs/default

Writes run.json, vocabulary.json, model.safetensors and SHA256SUMS to matgen/shipped/default; the
model card README.md there is written by hand, from what ``benchmarks/shipped_model.py`` printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matgen.catalog import Catalog
from matgen.models.pack import write_packed
from matgen.models.store import find_model


def main() -> None:
    """Copy a run's best model into the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    write_packed(parser.parse_args().run, find_model(), Catalog.load())


if __name__ == "__main__":
    main()
