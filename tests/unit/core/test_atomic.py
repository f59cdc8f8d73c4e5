"""Files that are whole or absent; tests/faults has the full disk."""

import math
from pathlib import Path

import pytest
import torch

from matgen.atomic import (
    read_json,
    read_tensors,
    replacing,
    replacing_folder,
    write_json,
    write_tensors,
    write_text,
)
from matgen.errors import BadFile


def test_what_is_written_is_read_back_folders_made_on_the_way(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"µ": "Å"}}
    write_json(tmp_path / "new" / "a.json", value)
    assert read_json(tmp_path / "new" / "a.json") == value
    assert list(read_json(tmp_path / "new" / "a.json")) == ["b", "a"]
    tensors = {"w": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3)}
    write_tensors(tmp_path / "w.safetensors", tensors)
    back = read_tensors(tmp_path / "w.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_json_that_other_programs_could_not_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_a_written_file_may_be_read_by_everybody(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    old = tmp_path / "a.txt"
    write_text(old, "old")
    with pytest.raises(RuntimeError), replacing(old) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "one") as temporary:
        (temporary / "half").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with replacing_folder(tmp_path / "one") as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "whole").write_text("whole")
        assert not (tmp_path / "one").exists()
    assert (tmp_path / "one" / "sub" / "whole").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "one"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_file_that_is_no_json_object_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(BadFile, match=r"a\.json"):
        read_json(file)


def test_weights_that_are_missing_or_cut_off_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    with pytest.raises(BadFile, match=r"w\.safetensors"):
        read_tensors(file)
    write_tensors(file, {"w": torch.zeros(100)})
    whole = file.read_bytes()
    for kept in (0, 7, 50, len(whole) - 1):
        file.write_bytes(whole[:kept])
        with pytest.raises(BadFile, match=r"w\.safetensors"):
            read_tensors(file)
