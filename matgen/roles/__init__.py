"""The slots that plugins fill, one abstract class per file.

``ROLES`` is the only list of them: role name to where its class lives, so that asking for one role
imports no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from matgen.errors import UnknownName

if TYPE_CHECKING:
    from matgen.roles.component import Component


@dataclass(frozen=True)
class Role:
    """A slot.

    Attributes:
        name: Singular, as in registry.toml.
        hook: The pluggy hook whose implementations return classes for it.
        class_name: The abstract class, in ``matgen.roles.<name>``.
    """

    name: str
    hook: str
    class_name: str

    def base(self) -> type[Component]:
        """Import and return the abstract class."""
        base: type[Component] = getattr(import_module(f"matgen.roles.{self.name}"), self.class_name)
        return base


ROLES: dict[str, Role] = {
    name: Role(name, hook, class_name)
    for name, hook, class_name in (
        ("dataset", "matgen_datasets", "DatasetSource"),
        ("representation", "matgen_representations", "Representation"),
        ("ordering", "matgen_orderings", "Ordering"),
        ("condition", "matgen_conditions", "Condition"),
        ("backbone", "matgen_backbones", "Backbone"),
        ("sampler", "matgen_samplers", "Sampler"),
        ("constraint", "matgen_constraints", "Constraint"),
        ("reward", "matgen_rewards", "Reward"),
        ("relaxer", "matgen_relaxers", "Relaxer"),
        ("hull", "matgen_hulls", "HullReference"),
        ("evaluator", "matgen_evaluators", "Evaluator"),
        ("protocol", "matgen_protocols", "EvaluationProtocol"),
        ("generator", "matgen_generators", "Generator"),
        ("calculation", "matgen_calculations", "Calculation"),
        ("executor", "matgen_executors", "Executor"),
    )
}


def role(name: str) -> Role:
    """Return the role of this name.

    Raises:
        UnknownName: there is no such role; the message lists them.
    """
    if name not in ROLES:
        raise UnknownName(f"no role is called {name!r}; roles: {', '.join(ROLES)}")
    return ROLES[name]
