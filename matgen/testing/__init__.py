"""Contracts of the roles as functions, for our own suite and for authors of plugins.

One call per component, in any test runner::

    from matgen.testing import check_ordering

    def test_my_ordering_keeps_the_laws():
        check_ordering(AnionsFirst())

A broken law raises ``ContractBroken``, which names it.
"""

from __future__ import annotations

from matgen.testing.calculating import check_calculation
from matgen.testing.contract import ContractBroken
from matgen.testing.drawing import MadeUpDecoder, check_sampler
from matgen.testing.generating import check_generator
from matgen.testing.hostile import crystals
from matgen.testing.language import accepts, check_constraint, check_grammar
from matgen.testing.measuring import (
    check_dataset,
    check_evaluator,
    check_executor,
    check_hull,
    check_protocol,
    check_relaxer,
    check_reward,
)
from matgen.testing.network import check_backbone, check_condition, check_decoder
from matgen.testing.writing import HalfBin, check_ordering, check_representation

__all__ = [
    "ContractBroken",
    "HalfBin",
    "MadeUpDecoder",
    "accepts",
    "check_backbone",
    "check_calculation",
    "check_condition",
    "check_constraint",
    "check_dataset",
    "check_decoder",
    "check_evaluator",
    "check_executor",
    "check_generator",
    "check_grammar",
    "check_hull",
    "check_ordering",
    "check_protocol",
    "check_relaxer",
    "check_representation",
    "check_reward",
    "check_sampler",
    "crystals",
]
