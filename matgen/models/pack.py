"""A run directory as a model to pass on: best weights in half the bytes, a card, checksums."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgen.atomic import read_json, replacing_folder, write_json, write_tensors, write_text
from matgen.errors import BadFile, BadOptions
from matgen.models.card import model_card
from matgen.models.sums import CARD, NEEDED, write_sums
from matgen.run_dir import load_run

if TYPE_CHECKING:
    from matgen.catalog import Catalog


def pack(run: Path, out: Path, catalog: Catalog) -> Path:
    """Write what using a run's best model needs, and nothing of the machine it was trained on.

    Weights are kept in bfloat16. A ``README.md`` in the run is taken as the card; without one the
    card says what run.json does.

    Args:
        out: Must not exist.

    Raises:
        BadFile: no run, or no weights in it.
        BadOptions: ``out`` exists.
    """
    if out.exists():
        raise BadOptions(f"{out} exists: choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(out) as folder:
        write_packed(run, folder, catalog)
    return out


def write_packed(run: Path, folder: Path, catalog: Catalog) -> None:
    """Write the files of ``pack`` into a folder that is there; a card that is there is kept."""
    import torch
    from safetensors import SafetensorError, safe_open

    load_run(run, catalog)
    info: dict[str, Any] = read_json(run / "run.json")  # JSON values
    for split in info["data"].values():
        split.pop("path", None)
    weights = run / "model.safetensors"
    try:
        with safe_open(weights, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise BadFile(f"{weights} is missing or damaged ({error})") from None
    if {"step", "loss"} <= metadata.keys():
        info["best"] = {
            "step": int(metadata["step"]),
            "validation_loss": float(metadata["loss"]),
        }
    small = {
        name: tensor.bfloat16() if tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    write_json(folder / "run.json", info)
    write_json(folder / "vocabulary.json", read_json(run / "vocabulary.json"))
    write_tensors(folder / "model.safetensors", small, metadata)
    if not (folder / CARD).exists():
        given = run / CARD
        text = given.read_text(encoding="utf-8") if given.exists() else model_card(run, catalog)
        write_text(folder / CARD, text)
    write_sums(folder, (*NEEDED, CARD))
