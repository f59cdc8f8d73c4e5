"""``matgen data import`` as people type it."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from matgen.commands.data_import import ImportBar
from matgen.io.extxyz import frame_text
from matgen.io.writing import cif_text
from matgen_toy.textbook import Textbook
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The textbook crystals as a zip of CIFs with two bad ones, and with gaps of two sources."""
    folder = tmp_path_factory.mktemp("files")
    records = [*Textbook().records("train"), *Textbook().records("val")]
    with zipfile.ZipFile(folder / "mine.zip", "w") as archive:
        for record in records:
            archive.writestr(f"{record.id}.cif", cif_text(record.crystal))
        archive.writestr("cut.cif", cif_text(records[0].crystal)[:400])
        archive.writestr("../out.cif", cif_text(records[0].crystal))
    for name, gap in (("a", 1.0), ("b", 2.0)):
        texts = [
            frame_text(r.crystal, {"id": f"{name}-{r.id}", "gap": gap, "other": 1.0})
            for r in records
        ]
        (folder / f"{name}.extxyz").write_text("".join(texts))
    return folder


def test_a_zip_becomes_a_dataset_that_stores_are_prepared_of(
    cli: Cli, files: Path, tmp_path: Path
) -> None:
    n_textbook = len([*Textbook().records("train"), *Textbook().records("val")])
    out = tmp_path / "mine"
    asked = ("data", "import", files / "mine.zip", "--out", out, "--properties", "--workers", 1)
    done = cli(*asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert f"{n_textbook:,} crystals" in done.stderr
    assert f"left out 2 of {n_textbook + 2} entries" in " ".join(done.stderr.split())
    lines = [json.loads(line) for line in (out / "problems.jsonl").read_text().splitlines()]
    assert {line["source"].rpartition(":")[2] for line in lines} == {"cut.cif", "../out.cif"}
    again = cli(*asked, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["was_there"]
    prepared = cli(
        "data", "prepare", "--dataset", out, "--cond", "density", "--cond", "space_group",
        "--out", tmp_path / "stores", "--json",
    )  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    stores = json.loads(prepared.stdout)
    assert stores["train"]["n_sequences"] + stores["val"]["n_sequences"] == n_textbook


def test_several_inputs_keep_their_sources_and_strict_refuses_in_one_line(
    cli: Cli, files: Path, tmp_path: Path
) -> None:
    a, b, out = files / "a.extxyz", files / "b.extxyz", tmp_path / "both"
    asked = (
        "data", "import", a, b, "--out", out, "--unit", "gap:eV", "--source", f"{a}=mp:PBE",
        "--source", f"{b}=jarvis:OptB88vdW", "--workers", 1,
    )  # fmt: skip
    done = cli(*asked, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["label_sources"] == {"gap": ["mp (PBE)", "jarvis (OptB88vdW)"]}
    assert set(told["columns_left_out"]) == {"other"}
    assert told["counts"]["left_out"] == {}
    refused = cli("data", "import", files / "mine.zip", "--out", tmp_path / "no", "--strict")
    assert refused.returncode == 2
    [line] = [text for text in refused.stderr.splitlines() if text.startswith("error:")]
    assert "2 of" in line
    assert "leads out" in line
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.cif"], "no such file exists"),
        (["a.extxyz", "--unit", "gap"], "write COLUMN:UNIT"),
        (["a.extxyz", "--source", "c.extxyz=mp"], "is no input"),
        (["a.extxyz", "--source", "mp:PBE:U"], "write NAME"),
        (["a.extxyz", "--unit", "numbers:text"], "a column that the dataset needs itself"),
        (["a.extxyz", "--unit", "material_id:text"], "which names the crystals"),
        (["a.extxyz", "a.extxyz"], "given twice"),
        (["textbook", "--source", "mp:PBE"], "says itself"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    cli: Cli, files: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = cli("data", "import", *arguments, "--out", tmp_path / "out", cwd=files)
    assert done.returncode == 2
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error:")]
    assert says in line


def test_a_registered_dataset_is_imported_with_its_own_splits(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "books"
    done = cli("data", "import", "textbook", "--out", out, "--properties", "--json", "--workers", 1)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["counts"]
    for split in ("train", "val"):
        assert counts[split] == len(list(Textbook().records(split)))


def test_units_that_no_condition_takes_and_splits_without_crystals_are_warned_of(
    cli: Cli, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = cli(
        "data", "import", files / "a.extxyz", "--out", out, "--unit", "band_gap:meV", "--unit",
        "gap:meV", "--val-fraction", "0", "--workers", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 3
    assert "conditions take band_gap in eV" in warnings[0]
    assert f"no crystals are in val; `matgen data split {out} --out DIR`" in warnings[1]
    assert "no entry has a value of 'band_gap'" in warnings[2]


def test_an_archive_that_breaks_off_is_not_said_to_lack_one_entry(
    cli: Cli, files: Path, tmp_path: Path
) -> None:
    whole = io.BytesIO()
    records = [*Textbook().records("train"), *Textbook().records("val")]
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for record in records:
            data = cif_text(record.crystal).encode()
            info = tarfile.TarInfo(f"{record.id}.cif")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path = tmp_path / "mine.tar"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    asked = ("data", "import", path, "--out", tmp_path / "out", "--workers", 1)
    refused = cli(*asked, "--strict")
    assert refused.returncode == 2
    assert "how many more entries the rest that cannot be read holds is unknown" in refused.stderr
    assert list(tmp_path.iterdir()) == [path]
    done = cli(*asked)
    assert done.returncode == 0, done.stderr
    assert "and an unknown number of others" in done.stderr
    assert f"warning: the rest of {path} could not be read" in done.stderr


def test_a_resumed_import_claims_no_rate_for_what_was_read_before() -> None:
    bar = ImportBar()
    bar.on_piece(10, 7, 1, is_new=False)
    assert bar.rate == ""
    bar.on_piece(10, 7, 1, is_new=True)
    assert bar.rate.endswith(" entries/s")
