"""Make a run the shipped default: weights in bfloat16, nothing that is of one machine.

    python tools/ship.py runs/default

Writes run.json, vocabulary.json and model.safetensors to matgen/shipped/default; the model card
README.md there is written by hand, from what ``matgen evaluate`` printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open

from matgen.atomic import read_json, write_json, write_tensors
from matgen.run_dir import shipped_model


def main() -> None:
    """Copy a run's best model into the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for split in info["data"].values():
        del split["path"]
    target = shipped_model()
    with safe_open(run / "model.safetensors", framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    small = {
        name: tensor.bfloat16() if tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    info["best"] = {"step": int(metadata["step"]), "validation_loss": float(metadata["loss"])}
    write_json(target / "run.json", info)
    write_json(target / "vocabulary.json", read_json(run / "vocabulary.json"))
    write_tensors(target / "model.safetensors", small, metadata)


if __name__ == "__main__":
    main()
