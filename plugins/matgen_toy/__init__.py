"""The smallest complete set of components: read it to learn the roles, use it to test engines.

Cubic cells with sites on a coarse grid, hard spheres for an energy, and a network of one block.
The lattice constant is a continuous token and the number of sites a prompt token, so every seam of
the engine is used by something that a person can follow by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import (
        Backbone,
        Condition,
        Constraint,
        DatasetSource,
        Evaluator,
        Executor,
        HullReference,
        Ordering,
        Relaxer,
        Representation,
        Reward,
        Sampler,
    )


@hookimpl
def matgen_datasets() -> list[type[DatasetSource]]:
    from matgen_toy.textbook import Textbook

    return [Textbook]


@hookimpl
def matgen_representations() -> list[type[Representation]]:
    from matgen_toy.cubic import Cubic

    return [Cubic]


@hookimpl
def matgen_orderings() -> list[type[Ordering]]:
    from matgen_toy.asking import BySpecies

    return [BySpecies]


@hookimpl
def matgen_conditions() -> list[type[Condition]]:
    from matgen_toy.asking import NSites, Spacing

    return [NSites, Spacing]


@hookimpl
def matgen_backbones() -> list[type[Backbone]]:
    from matgen_toy.one_block import OneBlock

    return [OneBlock]


@hookimpl
def matgen_samplers() -> list[type[Sampler]]:
    from matgen_toy.plain import Plain

    return [Plain]


@hookimpl
def matgen_constraints() -> list[type[Constraint]]:
    from matgen_toy.asking import Only

    return [Only]


@hookimpl
def matgen_rewards() -> list[type[Reward]]:
    from matgen_toy.spheres import Dense

    return [Dense]


@hookimpl
def matgen_relaxers() -> list[type[Relaxer]]:
    from matgen_toy.spheres import Spheres

    return [Spheres]


@hookimpl
def matgen_hulls() -> list[type[HullReference]]:
    from matgen_toy.spheres import ClosePacking

    return [ClosePacking]


@hookimpl
def matgen_evaluators() -> list[type[Evaluator]]:
    from matgen_toy.spheres import Packing

    return [Packing]


@hookimpl
def matgen_executors() -> list[type[Executor]]:
    from matgen_toy.serial import Serial

    return [Serial]
