"""Samplers that come with matgen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import Sampler


@hookimpl
def matgen_samplers() -> list[type[Sampler]]:
    from matgen_samplers.ancestral import Ancestral
    from matgen_samplers.best_of import BestOf

    return [Ancestral, BestOf]
