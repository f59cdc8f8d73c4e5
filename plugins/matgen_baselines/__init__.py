"""Baselines that a generative model has to beat: known crystals with other elements in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import Generator


@hookimpl
def matgen_generators() -> list[type[Generator]]:
    from matgen_baselines.ion_exchange import IonExchange
    from matgen_baselines.random_prototypes import RandomPrototypes

    return [IonExchange, RandomPrototypes]
