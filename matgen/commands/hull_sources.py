"""Where the energies of a hull reference come from: the work of ``matgen hull build``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from matgen.errors import BadFile, BadOptions
from matgen.evaluation.energy_corrections import RAW_SCALE, Scheme
from matgen.evaluation.hull_building import Assembled, Row, assemble, crystal_rows, table_rows

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.relaxer import Relaxer

Show = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class HullRequest:
    """A hull reference as a person asks for it: names and texts.

    Attributes:
        source: Table, reference of MatterGen, or (with a relaxer) dataset.
        out: File that will be written; energies are kept beside it.
        relaxer: Name of the potential, or None for energies of the source.
        scale: Energy scale of a table.
        correct: Scheme for energies of the potential; None for the usual one.
        energy_column, formula_column: Of a table; None for the usual names.
        leave_out: Whether to go on without rows that cannot be used.
        origin, licence: For reports.
        device: Torch device of the potential.
        settings: ``relaxer.SETTING=VALUE`` and ``dataset.SETTING=VALUE`` texts.
    """

    source: str
    out: Path
    relaxer: str | None = None
    scale: str | None = None
    correct: str | None = None
    energy_column: str | None = None
    formula_column: str | None = None
    leave_out: bool = False
    origin: str = ""
    licence: str = ""
    device: str = "cpu"
    settings: tuple[str, ...] = ()


def build_hull(catalog: Catalog, request: HullRequest, show: Show) -> Assembled:
    """Return the reference that was asked for.

    Raises:
        UserError: one sentence that says what to do.
    """
    from matgen.io.mattergen_reference import is_mattergen_reference

    if request.relaxer is not None:
        if request.scale is not None:
            raise BadOptions("--scale is for tables: the potential says on which scale it is")
        return _relaxed(catalog, request, request.relaxer, show)
    if request.settings or request.correct:
        raise BadOptions("--set and --correct are for energies of a potential; add --relax")
    path = Path(request.source).expanduser()
    if not path.is_file():
        raise BadFile(
            f"{request.source} is no file; name a table of energies, or add --relax chgnet to make "
            "them from the crystals of a dataset"
        )
    if is_mattergen_reference(path):
        return _mattergen(path, request, show)
    return _table(path, request)


def _table(path: Path, request: HullRequest) -> Assembled:
    kind, rows = table_rows(path, formula=request.formula_column, energy=request.energy_column)
    if request.scale is None:
        raise BadOptions(
            f"{path} does not say on which energy scale it is; add --scale mp2020 for "
            "MP2020-corrected energies, --scale pbe+u for raw ones, or a name of your own"
        )
    note = {**_note(request), "energy_scale": request.scale, "corrections": "as in the table"}
    return assemble(rows, kind, note, leave_out=request.leave_out)


def _mattergen(path: Path, request: HullRequest, show: Show) -> Assembled:
    from matgen.io.mattergen_reference import SCALES, TRI_REMARK, opened

    with opened(path) as reference:
        scale = request.scale or SCALES.get(reference.name)
        if scale is None:
            raise BadOptions(
                f"{path} calls itself {reference.name!r}, which says nothing of its energy scale; "
                "add --scale mp2020 or --scale tri2024"
            )

        def rows() -> Iterator[Row]:
            for number, (key, fractions, energy) in enumerate(reference.energies()):
                if number % 1000 == 0:
                    show("entries", number, None)
                yield Row(f"{path}, {key}", fractions, energy)

        note = {**_note(request), "energy_scale": scale, "corrections": reference.name}
        if scale == "tri2024":
            note["remarks"] = TRI_REMARK
        # MatterGen itself passes over entries without energy and elements without entry.
        return assemble(rows(), "total", note, leave_out=True)


def _relaxed(catalog: Catalog, request: HullRequest, name: str, show: Show) -> Assembled:
    from matgen.devices import pick_device
    from matgen.evaluation.energy_log import EnergyLog, energies, potential_of
    from matgen.plan_parts import Settings, named_dataset, parse_settings

    taken = Settings(parse_settings(request.settings))
    relaxer = cast("Relaxer", catalog.build("relaxer", name, taken.take("relaxer")))
    dataset = named_dataset(catalog, request.source, taken.take("dataset"))
    taken.refuse_rest("relaxer or dataset")
    scheme, scale = _scheme(relaxer, request.correct)
    crystals = [
        (record.id, record.crystal) for split in dataset.splits for record in dataset.records(split)
    ]
    potential = potential_of(relaxer)
    log = EnergyLog(request.out.with_name(f"{request.out.name}.energies.jsonl"), potential)
    found = energies(
        [crystal for _, crystal in crystals],
        relaxer,
        device=pick_device(request.device),
        log=log,
        observer=lambda done, total: show("energies", done, total),
    )
    note = {
        **_note(request),
        "energy_scale": scale,
        "corrections": scheme,
        "potential": potential,
        "dataset": catalog.dump(dataset),
    }
    rows = crystal_rows(crystals, found, scheme)
    return assemble(rows, "total", note, leave_out=request.leave_out)


def _scheme(relaxer: Relaxer, asked: str | None) -> tuple[Scheme, str]:
    """Return what is added to a potential's energies, and the scale that they are then on.

    Raises:
        BadOptions: they would be corrected twice.
    """
    if relaxer.energy_scale != RAW_SCALE:
        if asked not in (None, "none"):
            raise BadOptions(
                f"the energies of {relaxer.name} are on the scale {relaxer.energy_scale}: only raw "
                f"ones ({RAW_SCALE}) are corrected; leave out --correct"
            )
        return "none", relaxer.energy_scale
    scheme = cast("Scheme", asked or "mp2020")
    return scheme, RAW_SCALE if scheme == "none" else scheme


def _note(request: HullRequest) -> dict[str, Any]:  # JSON
    from matgen import __version__

    return {
        "matgen": __version__,
        "source": request.origin or Path(request.source).name,
        "licence": request.licence,
    }
