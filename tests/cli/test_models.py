"""``matgen model``: from a run to a model that others use by its name, and what can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from matgen.errors import BadFile, BadOptions, UserError
from matgen.io.digests import sha256_of
from matgen.models.pull import ModelSource, pull
from matgen.models.store import SHIPPED, find_model
from matgen.models.sums import CARD, NEEDED, SUMS, read_sums, write_sums
from tests.cli.conftest import Cli
from tests.local_server import Answer, Asked, serving


class Silent:
    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        pass


@pytest.fixture(scope="module")
def packed(cli: Cli, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "mine"
    done = cli("model", "pack", run_folder, "--out", out)
    assert done.returncode == 0, done.stderr
    assert sha256_of(out / SUMS) in done.stderr
    return out


def hub(folder: Path, *, spoil: Callable[[str, bytes], bytes] | None = None) -> object:
    """Answer as the Hub does for some/one at revision v1."""

    def handle(asked: Asked) -> Answer:
        prefix = "/some/one/resolve/v1/"
        path = folder / asked.path.removeprefix(prefix)
        if not asked.path.startswith(prefix) or not path.is_file():
            return Answer(status=404)
        content = path.read_bytes()
        return Answer(content if spoil is None else spoil(path.name, content))

    return handle


def test_a_packed_model_holds_half_the_bytes_and_nothing_of_the_machine(
    packed: Path, run_folder: Path
) -> None:
    assert {path.name for path in packed.iterdir()} == {*NEEDED, CARD, SUMS}
    weights = load_file(packed / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    whole = load_file(run_folder / "model.safetensors")
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor.float(), whole[name], rtol=1e-2, atol=1e-6)
    info = json.loads((packed / "run.json").read_text())
    assert "path" not in info["data"]["train"]
    card = (packed / CARD).read_text()
    assert "toy:textbook" in card
    assert "| density |" in card
    assert "arXiv:2512.07486" in card


def test_pulled_models_are_used_by_their_name(cli: Cli, packed: Path, tmp_path: Path) -> None:
    done = cli("model", "pull", packed, "--sha256", sha256_of(packed / SUMS))
    assert done.returncode == 0, done.stderr
    listed = json.loads(cli("model", "list", "--json").stdout)
    names = [model["name"] for model in listed]
    assert (names[0], names[-1]) == (SHIPPED, "mine")
    assert "mine" in cli("model", "list").stdout
    verified = json.loads(cli("model", "verify", "mine", "--json").stdout)
    assert verified["files"] == 4
    assert verified["parameters"] > 1e5
    assert cli("model", "card", "mine").stdout == (packed / CARD).read_text()
    done = cli("sample", "--model", "mine", "-n", 2, "--out", tmp_path / "s.extxyz")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.extxyz").exists()
    done = cli("model", "pull", packed)
    assert done.returncode == 2
    assert "there is a model mine already" in done.stderr
    done = cli("sample", "--model", "yours", "-n", 1, "--out", tmp_path / "t.extxyz")
    assert done.returncode == 2
    assert f"known models: {', '.join(names)} (" in done.stderr


def test_without_a_name_the_default_is_meant(cli: Cli) -> None:
    done = cli("model", "verify")
    assert done.returncode == 0, done.stderr
    assert str(find_model()) in done.stdout
    assert cli("model", "card").stdout == (find_model() / CARD).read_text()


def test_the_card_of_a_run_without_one_says_what_it_learned(
    cli: Cli, run_folder: Path, tmp_path: Path
) -> None:
    done = cli("model", "card", run_folder, "--out", tmp_path / "card.md")
    assert done.returncode == 0, done.stderr
    assert "nats a token, at step" in (tmp_path / "card.md").read_text()


def test_weights_that_are_not_finite_or_do_not_fit_are_found(
    cli: Cli, packed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(packed, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] * float("nan")}, folder / "model.safetensors")
    done = cli("model", "verify", folder)
    assert done.returncode == 2
    assert "model.safetensors missing or not what SHA256SUMS says" in done.stderr
    write_sums(folder, (*NEEDED, CARD))
    done = cli("model", "verify", folder)
    assert done.returncode == 2
    assert "no finite numbers" in done.stderr
    del weights[name]
    save_file(weights, folder / "model.safetensors")
    write_sums(folder, (*NEEDED, CARD))
    assert "do not fit its run.json" in cli("model", "verify", folder).stderr


def test_the_hub_and_its_mirrors_serve_models_whole_or_not_at_all(
    packed: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    with serving(hub(packed)) as server:  # type: ignore[arg-type]  # a handler
        source = ModelSource.parse("hf:some/one@v1", hub=server.url + "/")
        folder = pull(source, models, observer=Silent())
        assert folder == models / "one"
        for name in (*NEEDED, CARD, SUMS):
            assert (folder / name).read_bytes() == (packed / name).read_bytes()
        assert {path.name for path in models.iterdir()} == {"one"}
        with pytest.raises(BadFile, match="not the one with the checksum"):
            pull(source, models, name="two", sha256="0" * 64, observer=Silent())
        other = ModelSource.parse("hf:some/one@v2", hub=server.url)
        with pytest.raises(UserError, match="404"):
            pull(other, models, name="two", observer=Silent())

        def torn(name: str, content: bytes) -> bytes:
            flipped = content[:-1] + bytes([content[-1] ^ 1])
            return flipped if name == "model.safetensors" else content

        server.handler = hub(packed, spoil=torn)  # type: ignore[assignment]  # a handler
        with pytest.raises((BadFile, UserError)):
            pull(source, models, name="two", observer=Silent())
        assert not (models / "two").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense\n", "no checksum"),
        (f"{'a' * 64}  ../../evil\n", "no checksum"),
        (f"{'a' * 64}  run.json\n", "lacks vocabulary.json, model.safetensors"),
    ],
)
def test_checksums_that_are_none_or_lead_elsewhere_are_refused(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / SUMS).write_text(text)
    with pytest.raises(BadFile, match=told):
        read_sums(tmp_path / SUMS)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../x", "cannot be called"),
        (".hidden", "cannot be called"),
        ("", "cannot be called"),
        (SHIPPED, "there is a model default already"),
    ],
)
def test_names_that_lead_elsewhere_or_are_taken_are_refused(
    name: str, told: str, packed: Path, tmp_path: Path
) -> None:
    source = ModelSource(packed, name)
    with pytest.raises(BadOptions, match=told):
        pull(source, tmp_path / "models", observer=Silent())
    assert not (tmp_path / "models").exists()


def test_every_shipped_model_is_whole_and_has_a_card(cli: Cli) -> None:
    for folder in sorted(find_model().parent.iterdir()):
        done = cli("model", "verify", folder.name)
        assert done.returncode == 0, done.stderr
        assert "4 files are what their checksums say" in done.stdout
        assert (folder / CARD).exists()


def test_a_folder_without_checksums_is_no_packed_model(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="matgen model pack"):
        pull(ModelSource.parse(str(run_folder)), tmp_path / "models", observer=Silent())
    with pytest.raises(BadOptions, match="hf:ORGANISATION/NAME"):
        ModelSource.parse("nowhere")
