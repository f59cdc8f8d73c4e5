"""In which range the continuous values of a dataset are, told to the network once."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from matgen.data.batch import SequenceStore
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.value_head import ValueScale

SEEN: Final = 4096
"""Training sequences from which centre and spread of continuous values are taken."""


def fit_value_scales(model: CrystalModel, store: SequenceStore) -> None:
    """Set the scales of value embedding and head; nothing where no token is continuous."""
    scales = [module for module in model.modules() if isinstance(module, ValueScale)]
    if not scales:
        return
    places: NDArray[np.int64] = np.arange(min(len(store), SEEN), dtype=np.int64)
    seen = store.gather(places, epoch=0)
    if seen.values is not None:
        for scale in scales:
            scale.fit(torch.from_numpy(seen.ids), torch.from_numpy(np.array(seen.values)))
