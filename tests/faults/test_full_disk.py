"""A disk that fills up while a file is written leaves the file of before."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from matgen.atomic import replacing, replacing_folder, write_json, write_tensors, write_text


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reaches the disk any more."""

    def full(handle: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.usefixtures("full_disk")
def test_the_old_file_stays_and_nothing_half_written_is_left(tmp_path: Path) -> None:
    old = tmp_path / "report.json"
    old.write_text("old")
    for write in (
        lambda: write_text(old, "new"),
        lambda: write_json(old, {"new": 1}),
        lambda: write_tensors(old, {"new": torch.zeros(2)}),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.usefixtures("full_disk")
def test_no_half_folder_is_left(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left"),
        replacing_folder(tmp_path / "step-1") as temporary,
    ):
        (temporary / "model").write_text("weights")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    old = tmp_path / "report.json"
    old.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(old) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]
