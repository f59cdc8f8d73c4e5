"""What a run directory holds, written atomically and read back without unpickling anything.

::

    run.json            components with every field, plugin and library versions, data, seeds
    vocabulary.json     the tokens
    model.safetensors   weights of the best validation loss
    checkpoints/        the last two complete training states
    metrics.jsonl       one line per logged step and validation
    report.json …       what ``matgen evaluate`` wrote
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgen import __version__
from matgen.atomic import read_json, read_tensors, write_json
from matgen.errors import BadFile, NewerFormat, UnknownName
from matgen.model_spec import ModelSpec

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.nn.crystal_model import CrystalModel
    from matgen.roles.component import Component

FORMAT = 1
"""Version of run.json's layout."""

LIBRARIES = ("torch", "numpy", "pydantic", "safetensors", "pymatgen", "spglib", "ase")


@dataclass(frozen=True, eq=False)
class Run:
    """A run directory that was read.

    Attributes:
        info: The whole of run.json.
    """

    folder: Path
    spec: ModelSpec
    info: Mapping[str, Any]  # JSON values

    @property
    def trained_range(self) -> Mapping[str, tuple[float, float]]:
        """Label to lowest and highest training value of each numeric condition."""
        ranges = self.info["data"]["train"]["range"]
        return {label: (low, high) for label, (low, high) in ranges.items()}

    @property
    def trained_quantiles(self) -> Mapping[str, Sequence[float]]:
        """Label to the quantiles of its training values at ``matgen.data.sketch.LEVELS``.

        Runs from before they were kept have none.
        """
        found: Mapping[str, Sequence[float]] = self.info["data"]["train"].get("quantiles", {})
        return found


def describe_run(
    catalog: Catalog,
    spec: ModelSpec,
    dataset: Component,
    training: Mapping[str, object],
    data: Mapping[str, object],
) -> dict[str, object]:
    """Return what run.json is to hold for a training run.

    Args:
        training: The training settings, dumped.
        data: ``train`` and ``val`` to what their token stores say of themselves.
    """
    return {
        "format": FORMAT,
        "matgen": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "representation": catalog.dump(spec.representation),
            "ordering": catalog.dump(spec.ordering),
            "backbone": catalog.dump(spec.backbone),
            "conditions": [catalog.dump(condition) for condition in spec.conditions],
        },
        "dataset": catalog.dump(dataset),
        "data": dict(data),
        "training": dict(training),
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version}
            for p in catalog.plugins()
            if not p.problem
        ],
        "versions": library_versions(),
    }


def save_run(folder: Path, info: Mapping[str, object], spec: ModelSpec) -> None:
    """Write run.json and vocabulary.json."""
    write_json(folder / "vocabulary.json", spec.representation.vocabulary().to_json())
    write_json(folder / "run.json", info)


def load_run(folder: Path, catalog: Catalog) -> Run:
    """Read a run directory.

    Raises:
        BadFile: no run directory.
        NewerFormat: written by a newer matgen.
        UnknownName: a plugin it was made with is missing; says which distribution to install.
    """
    if not (folder / "run.json").exists():
        raise BadFile(f"{folder} is no run directory (no run.json in it)")
    info = read_json(folder / "run.json")
    written = info.get("format")
    if not isinstance(written, int):
        raise BadFile(f"{folder / 'run.json'} has no format number")
    if written > FORMAT:
        raise NewerFormat(
            f"{folder} was written by matgen {info.get('matgen')} (format {written}; this "
            f"installation reads up to {FORMAT}): pip install --upgrade matgen"
        )
    if lacking := [key for key in ("model", "dataset", "data", "plugins") if key not in info]:
        raise BadFile(f"{folder / 'run.json'} is damaged: it lacks {', '.join(lacking)}")
    return Run(folder, _restore_spec(info, catalog), info)


def load_model(folder: Path, catalog: Catalog, *, device: str) -> tuple[CrystalModel, Run]:
    """Read a run's best model, in evaluation mode.

    Raises:
        BadFile: weights missing, truncated, or of another shape than run.json says.
    """
    from matgen.nn.crystal_model import CrystalModel

    run = load_run(folder, catalog)
    weights = read_tensors(folder / "model.safetensors")
    today = run.spec.representation.vocabulary().to_json()
    saved = read_json(folder / "vocabulary.json")
    # Written before there were scales, a file lacks them.
    if saved | {"scales": saved.get("scales", today["scales"])} != today:
        raise BadFile(
            f"{folder / 'vocabulary.json'} differs from what its representation gives today; "
            "the plugin changed its tokens since this run"
        )
    model = CrystalModel(run.spec)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise BadFile(f"the weights in {folder} do not fit its run.json: {told}") from None
    return model.to(device).eval(), run


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _restore_spec(info: Mapping[str, Any], catalog: Catalog) -> ModelSpec:  # JSON values
    model = info["model"]
    try:
        return ModelSpec(
            representation=catalog.restore(model["representation"]),  # type: ignore[arg-type]  # the role says so
            ordering=catalog.restore(model["ordering"]),  # type: ignore[arg-type]  # the role says so
            backbone=catalog.restore(model["backbone"]),  # type: ignore[arg-type]  # the role says so
            conditions=tuple(catalog.restore(saved) for saved in model["conditions"]),  # type: ignore[misc]  # the role says so
        )
    except UnknownName as error:
        # One that is there but broken or disabled is named with its problem by the catalog.
        installed = {p.name for p in catalog.plugins()}
        missing = [p for p in info["plugins"] if p["name"] not in installed]
        if not missing:
            raise
        told = ", ".join(f"{p['distribution']}=={p['version']}" for p in missing)
        raise UnknownName(
            f"this run needs plugins that are not installed: pip install {told}"
        ) from (error)


def shipped_model() -> Path:
    """Return the run directory of the checkpoint that comes with matgen."""
    return Path(__file__).parent / "shipped" / "default"
