"""The hooks of matgen: read this first to write a plugin.

A plugin is a module (or package) named in the entry-point group ``matgen``::

    [project.entry-points.matgen]
    mine = "my_module"

It implements any of the hooks below with ``@matgen.hookimpl``. Every hook takes nothing, has no
side effects, and returns *classes*, not instances: subclasses of the role's abstract class with a
``name``. A hook fires only when its role is first asked for; import heavy modules inside it.
Components are known as ``plugin:name``, here ``mine:…``, or by the bare name while it is unique.

Commands come through a second entry-point group, ``matgen.commands``: command name to a function
that typer can run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from matgen.roles.backbone import Backbone
    from matgen.roles.calculation import Calculation
    from matgen.roles.condition import Condition
    from matgen.roles.constraint import Constraint
    from matgen.roles.dataset import DatasetSource
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Executor
    from matgen.roles.generator import Generator
    from matgen.roles.hull import HullReference
    from matgen.roles.ordering import Ordering
    from matgen.roles.protocol import EvaluationProtocol
    from matgen.roles.relaxer import Relaxer
    from matgen.roles.representation import Representation
    from matgen.roles.reward import Reward
    from matgen.roles.sampler import Sampler

hookspec = pluggy.HookspecMarker("matgen")


@hookspec
def matgen_datasets() -> list[type[DatasetSource]]:  # type: ignore[empty-body]
    """Sources of crystals with properties."""


@hookspec
def matgen_representations() -> list[type[Representation]]:  # type: ignore[empty-body]
    """Crystals as token sequences, with the grammar of the language."""


@hookspec
def matgen_orderings() -> list[type[Ordering]]:  # type: ignore[empty-body]
    """Orders in which the sites (or orbits) of a crystal are written."""


@hookspec
def matgen_conditions() -> list[type[Condition]]:  # type: ignore[empty-body]
    """Properties that can be asked for."""


@hookspec
def matgen_backbones() -> list[type[Backbone]]:  # type: ignore[empty-body]
    """Networks that predict the next token."""


@hookspec
def matgen_samplers() -> list[type[Sampler]]:  # type: ignore[empty-body]
    """Ways to draw sequences from a decoder under a grammar."""


@hookspec
def matgen_constraints() -> list[type[Constraint]]:  # type: ignore[empty-body]
    """Rules that every sampled sequence obeys."""


@hookspec
def matgen_rewards() -> list[type[Reward]]:  # type: ignore[empty-body]
    """Scores for search and reinforcement learning."""


@hookspec
def matgen_relaxers() -> list[type[Relaxer]]:  # type: ignore[empty-body]
    """Interatomic potentials that relax crystals."""


@hookspec
def matgen_hulls() -> list[type[HullReference]]:  # type: ignore[empty-body]
    """Reference energies for distances to the convex hull."""


@hookspec
def matgen_evaluators() -> list[type[Evaluator]]:  # type: ignore[empty-body]
    """Measurements over generated crystals."""


@hookspec
def matgen_protocols() -> list[type[EvaluationProtocol]]:  # type: ignore[empty-body]
    """Ways of evaluating under whose names results are compared."""


@hookspec
def matgen_generators() -> list[type[Generator]]:  # type: ignore[empty-body]
    """Ways to make crystals without a trained model, to compare models with."""


@hookspec
def matgen_calculations() -> list[type[Calculation]]:  # type: ignore[empty-body]
    """Properties by first-principles codes: inputs to write, programs to run, outputs to read."""


@hookspec
def matgen_executors() -> list[type[Executor]]:  # type: ignore[empty-body]
    """Where independent pieces of work run."""
