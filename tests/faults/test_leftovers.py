"""What a kill in the middle of a save leaves behind is cleared."""

from pathlib import Path

import torch

from matgen.training.checkpoints import TrainState, save_checkpoint


def test_the_folder_of_a_killed_save_goes_with_the_next_save(tmp_path: Path) -> None:
    weights = {"weight": torch.ones(2)}
    left = tmp_path / ".step-00000001.killed"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"torn")
    saved = save_checkpoint(tmp_path, TrainState(), weights, weights, made_with={})
    assert list(tmp_path.iterdir()) == [saved]
