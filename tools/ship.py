"""Make a run a model that comes with matgen: weights in bfloat16, nothing that is of one machine.

    python tools/ship.py runs/default
    python tools/ship.py runs/mp20 --name mp20

Writes run.json, vocabulary.json, model.safetensors and SHA256SUMS to matgen/shipped/NAME. The card,
README.md there, is written by hand from what the benchmarks printed; ``--sums`` alone writes the
checksums again after it was edited.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matgen.catalog import Catalog
from matgen.models.pack import write_packed
from matgen.models.sums import CARD, NEEDED, write_sums
from matgen.run_dir import shipped_model


def main() -> None:
    """Copy a run's best model into the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--name", default="default")
    parser.add_argument("--sums", action="store_true")
    options = parser.parse_args()
    folder = shipped_model().parent / options.name
    if options.sums:
        write_sums(folder, (*NEEDED, CARD))
    elif options.run is not None:
        folder.mkdir(exist_ok=True)
        write_packed(options.run, folder, Catalog.load())
    else:
        parser.error("name a run, or --sums")


if __name__ == "__main__":
    main()
