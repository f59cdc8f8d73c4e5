"""The shipped model, loaded once."""

from __future__ import annotations

import pytest

from matgen.catalog import Catalog
from matgen.nn.crystal_model import CrystalModel
from matgen.run_dir import load_model, shipped_model


@pytest.fixture(scope="session")
def shipped() -> CrystalModel:
    """The model that comes with matgen, in evaluation mode."""
    model, _ = load_model(shipped_model(), Catalog.load(), device="cpu")
    return model
