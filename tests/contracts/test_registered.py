"""Every registered component keeps the laws of its role: ours, and those of any plugin installed.

What a check cannot make up by itself is said here and nowhere else: ``SETTINGS`` and ``GIVEN``.
A component whose package or data are missing on this machine is skipped with its own message.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from matgen import testing
from matgen.catalog import Catalog
from matgen.commands.data_import import ImportBar
from matgen.data.import_plan import ImportSettings, ImportSource
from matgen.data.importing import import_crystals
from matgen.elements import symbols
from matgen.errors import BadOptions, MissingDependency
from matgen.evaluation.reference import Reference
from matgen.io.hull_file import HullFile, write_hull_file
from matgen.records import Record
from matgen.roles import ROLES
from matgen.roles.dataset import FetchedDataset
from tests import served_data

CATALOG = Catalog.load()

FETCHED = [
    name
    for name in CATALOG.names("dataset")
    if name.startswith("datasets:") and issubclass(CATALOG.get("dataset", name), FetchedDataset)
]

SETTINGS: dict[str, dict[str, Any]] = {
    # Settings without a default.
    "constraints:chemical_system": {"elements": ("Li", "Fe", "O")},
    "constraints:contains": {"atoms": "Fe2O"},
    "constraints:elements": {"elements": ("Li", "Fe", "O")},
    "constraints:exclude": {"elements": ("Tc", "Pm")},
    "constraints:formula": {"formula": "LiFeO2"},
    "constraints:n_elements": {"least": 2, "greatest": 4},
    "constraints:n_sites": {"least": 4, "greatest": 12},
    "constraints:unseen": {"dataset": CATALOG.build("dataset", "toy:textbook")},
    "datasets:files": {"path": "CELLS"},
    "datasets:imported": {"path": "IMPORTED"},
    "datasets:mixed": {
        "parts": [CATALOG.build("dataset", name) for name in ("datasets:jarvis", "toy:textbook")]
    },
    "dft:band_gap": {"pseudopotentials": "PSEUDO"},
    "dft:magnetic_density": {"pseudopotentials": "PSEUDO"},
    "hulls:file": {"path": "CELLS", "scale": "mp2020"},
    "materium:cell": {"parameters": (4.0, 5.0, 6.0, 90.0, 90.0, 120.0)},
    "materium:lattice_system": {"system": "tetragonal"},
    "materium:start": {"numbers": (26,), "frac": ((0.0, 0.0, 0.0),)},
    "materium:column": {"title": "band_gap", "measure": "eV"},
    # Not on this machine: what fetching would leave, made of our own crystals.
    **{name: {"path": "FETCHED"} for name in FETCHED},
    # Sizes that fit a test.
    "materium:llama": {"width": 32, "heads": 2, "layers": 2, "ffn_width": 48},
}
"""Settings by qualified name; the text CELLS stands for a folder with the hostile crystals,
PSEUDO for one with pseudopotentials, IMPORTED for what ``matgen data import`` makes of CELLS,
FETCHED for one that ``matgen data fetch`` could have filled."""

GIVEN: dict[str, dict[str, Any]] = {}
"""Further arguments of a component's check by qualified name."""


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of structure files for datasets that read one."""
    from ase.io import write

    folder = tmp_path_factory.mktemp("cells")
    for index, crystal in enumerate(testing.crystals()):
        write(folder / f"cell_{index:02d}.cif", crystal.to_atoms())
    return str(folder)


def built(role: str, name: str, cells: str = "") -> Any:
    settings = {
        key: cells if value in ("CELLS", "PSEUDO") else value
        for key, value in SETTINGS.get(name, {}).items()
    }
    return CATALOG.build(role, name, settings)


def names(role: str) -> list[str]:
    return CATALOG.names(role)


def test_no_plugin_is_broken_and_every_role_is_filled() -> None:
    filled = {role for role in ROLES if CATALOG.names(role)}
    problems = {info.name: info.problem for info in CATALOG.plugins() if info.problem}
    assert (problems, set(ROLES) - filled) == ({}, set())


def imported(cells: str, out: Path) -> str:
    """Return the folder of an import."""
    import_crystals(
        [ImportSource.of(cells, Path(cells), None)],
        out,
        ImportSettings(computed=("density", "space_group", "reduced_formula")),
        CATALOG.build("executor", "local"),
        ImportBar(),
        problems="report",
    )
    return str(out)


@pytest.mark.parametrize("name", names("dataset"))
def test_a_dataset_repeats_itself_and_keeps_its_splits_apart(
    name: str, cells: str, tmp_path: Path
) -> None:
    dataset = built("dataset", name, cells)
    if name in FETCHED:
        folder = served_data.fetched_folder(dataset.name, tmp_path)
        dataset = dataset.model_copy(update={"path": str(folder)})
        assert dataset.is_fetched()
    if name == "datasets:imported":
        dataset = dataset.model_copy(update={"path": imported(cells, tmp_path / "out")})
    try:
        testing.check_dataset(dataset, limit=50)
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", names("representation"))
def test_a_representation_reads_back_what_it_writes(name: str) -> None:
    testing.check_representation(built("representation", name), **GIVEN.get(name, {}))


@pytest.mark.parametrize("ordering", names("ordering"))
@pytest.mark.parametrize("name", names("representation"))
def test_a_representation_works_with_every_ordering(name: str, ordering: str) -> None:
    testing.check_representation(
        built("representation", name),
        ordering=built("ordering", ordering),
        **GIVEN.get(name, {}),
    )


@pytest.mark.parametrize("name", names("representation"))
def test_a_grammar_accepts_exactly_what_decodes(name: str) -> None:
    testing.check_grammar(built("representation", name))


@pytest.mark.parametrize("name", names("ordering"))
def test_an_ordering_is_a_permutation_that_only_the_crystal_decides(name: str) -> None:
    testing.check_ordering(built("ordering", name))


@pytest.mark.parametrize("name", names("condition"))
def test_a_condition_refuses_nonsense_and_gives_finite_numbers(name: str) -> None:
    testing.check_condition(built("condition", name), **GIVEN.get(name, {}))


@pytest.mark.parametrize("name", names("backbone"))
def test_a_backbone_is_causal_and_cached_steps_change_nothing(name: str) -> None:
    testing.check_backbone(built("backbone", name))


@pytest.mark.parametrize("name", names("sampler"))
def test_a_sampler_obeys_the_grammar_and_draws_each_sample_by_itself(name: str) -> None:
    testing.check_sampler(built("sampler", name))


@pytest.mark.parametrize("name", names("constraint"))
def test_a_constraint_is_a_grammar_for_the_representations_it_fits(name: str) -> None:
    constraint = built("constraint", name)
    fits = 0
    for other in names("representation"):
        try:
            testing.check_constraint(constraint, built("representation", other))
        except BadOptions:
            continue  # it means nothing for this representation, and says so
        fits += 1
    assert fits


@pytest.mark.parametrize("name", names("reward"))
def test_a_reward_scores_failed_samples_lowest(name: str) -> None:
    try:
        testing.check_reward(built("reward", name))
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", names("relaxer"))
def test_a_relaxer_keeps_order_and_count_and_failures_are_results(name: str) -> None:
    relaxer = built("relaxer", name).model_copy(update={"max_steps": 2})
    try:
        testing.check_relaxer(relaxer, **GIVEN.get(name, {}))
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", names("hull"))
def test_a_hull_measures_energy_per_site_whatever_the_cell(name: str, tmp_path: Path) -> None:
    pure = [({symbol: 1.0}, -1.0) for symbol in symbols[1:95]]
    write_hull_file(tmp_path / "hull.parquet", HullFile("total", pure))
    reference = built("hull", name, str(tmp_path / "hull.parquet"))
    matching = [
        relaxer
        for relaxer in names("relaxer")
        if reference.takes(built("relaxer", relaxer).energy_scale)
        and not reference.lacks(built("relaxer", relaxer))
    ]
    assert matching, "no relaxer's energies are taken"
    for relaxer in matching:
        testing.check_hull(reference, relaxer=built("relaxer", relaxer))


@pytest.mark.parametrize("name", names("evaluator"))
def test_an_evaluator_survives_any_cohort_and_divides_by_asked(name: str) -> None:
    evaluator = built("evaluator", name)
    testing.check_evaluator(
        evaluator,
        executor=built("executor", "toy:serial"),
        reference=Reference(testing.crystals()[:3]),
        after=_before(evaluator),
        **GIVEN.get(name, {}),
    )


@pytest.mark.parametrize("name", names("protocol"))
def test_a_protocol_names_what_is_there(name: str) -> None:
    testing.check_protocol(built("protocol", name), CATALOG)


@pytest.mark.parametrize("name", names("calculation"))
def test_a_calculation_goes_on_from_what_is_in_its_folder(name: str, tmp_path: Path) -> None:
    calculation = built("calculation", name, str(pseudopotentials(tmp_path / "pseudo")))
    folder = tmp_path / "calculations"
    folder.mkdir()
    try:
        testing.check_calculation(calculation, testing.crystals(), folder)
    except MissingDependency as error:
        pytest.skip(str(error))


def pseudopotentials(folder: Path) -> Path:
    """Write headers that a code would not get far with."""
    folder.mkdir()
    for z in range(1, 90):
        header = f'<PP_HEADER element="{symbols[z]}" functional="PBE" z_valence="4.0"/>'
        (folder / f"{symbols[z]}.upf").write_text(header)
    return folder


@pytest.fixture(scope="session")
def known() -> list[Record]:
    """Real crystals for generators to start from."""
    return list(islice(built("dataset", "datasets:mp_le20").records("train"), 3000))


@pytest.mark.parametrize("name", names("generator"))
def test_a_generator_draws_each_sample_by_itself(name: str, known: list[Record]) -> None:
    testing.check_generator(built("generator", name), known, **GIVEN.get(name, {}))


@pytest.mark.parametrize("name", names("executor"))
def test_an_executor_keeps_the_order_and_passes_errors_on(name: str) -> None:
    executor = built("executor", name)
    try:
        testing.check_executor(executor)
    except MissingDependency as error:
        pytest.skip(str(error))


def _before(evaluator: Any) -> list[Any]:
    """Return the evaluators that this one reads, each after those that it reads itself."""
    ordered: list[Any] = []
    for name in evaluator.waits_for():
        known = {qualified.partition(":")[2] for qualified in names("evaluator")}
        if name in known:
            earlier = built("evaluator", CATALOG.resolve("evaluator", name))
            ordered += [e for e in (*_before(earlier), earlier) if e not in ordered]
    return ordered
