"""matgen: train, sample and evaluate autoregressive crystal generators, every part a plugin.

Public names for plugin authors are imported on first use, so that ``matgen --help`` loads neither
torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

if TYPE_CHECKING:
    from matgen import elements as elements
    from matgen.model import Model as Model
    from matgen.records import Crystal as Crystal
    from matgen.records import Draft as Draft
    from matgen.records import Measurement as Measurement
    from matgen.records import Record as Record
    from matgen.records import Relaxation as Relaxation
    from matgen.records import Sample as Sample
    from matgen.records import Tokens as Tokens
    from matgen.records import ValueRange as ValueRange
    from matgen.roles.backbone import Backbone as Backbone
    from matgen.roles.calculation import Calculation as Calculation
    from matgen.roles.calculation import Outcome as Outcome
    from matgen.roles.calculation import State as State
    from matgen.roles.calculation import Step as Step
    from matgen.roles.component import Component as Component
    from matgen.roles.condition import Condition as Condition
    from matgen.roles.condition import ScalarCondition as ScalarCondition
    from matgen.roles.constraint import Constraint as Constraint
    from matgen.roles.dataset import DatasetSource as DatasetSource
    from matgen.roles.dataset import FetchedDataset as FetchedDataset
    from matgen.roles.evaluator import Evaluator as Evaluator
    from matgen.roles.executor import Executor as Executor
    from matgen.roles.generator import Generator as Generator
    from matgen.roles.generator import GeneratorSession as GeneratorSession
    from matgen.roles.hull import HullReference as HullReference
    from matgen.roles.ordering import Ordering as Ordering
    from matgen.roles.ordering import SortedOrdering as SortedOrdering
    from matgen.roles.protocol import Chosen as Chosen
    from matgen.roles.protocol import EvaluationProtocol as EvaluationProtocol
    from matgen.roles.relaxer import AseRelaxer as AseRelaxer
    from matgen.roles.relaxer import Relaxer as Relaxer
    from matgen.roles.relaxer import TorchSimRelaxer as TorchSimRelaxer
    from matgen.roles.representation import Grammar as Grammar
    from matgen.roles.representation import Representation as Representation
    from matgen.roles.representation import Vocabulary as Vocabulary
    from matgen.roles.reward import Reward as Reward
    from matgen.roles.sampler import Sampler as Sampler

__version__ = "0.1.0"

hookimpl = HookimplMarker("matgen")
"""Marks a function of a plugin as an implementation of one of ``matgen.hookspecs``."""

_HOMES = {
    "Model": "matgen.model",
    "Crystal": "matgen.records",
    "Draft": "matgen.records",
    "Measurement": "matgen.records",
    "Record": "matgen.records",
    "Relaxation": "matgen.records",
    "Sample": "matgen.records",
    "Tokens": "matgen.records",
    "ValueRange": "matgen.records",
    "Backbone": "matgen.roles.backbone",
    "Calculation": "matgen.roles.calculation",
    "Outcome": "matgen.roles.calculation",
    "State": "matgen.roles.calculation",
    "Step": "matgen.roles.calculation",
    "Component": "matgen.roles.component",
    "Condition": "matgen.roles.condition",
    "ScalarCondition": "matgen.roles.condition",
    "Constraint": "matgen.roles.constraint",
    "DatasetSource": "matgen.roles.dataset",
    "FetchedDataset": "matgen.roles.dataset",
    "Evaluator": "matgen.roles.evaluator",
    "Executor": "matgen.roles.executor",
    "Generator": "matgen.roles.generator",
    "GeneratorSession": "matgen.roles.generator",
    "HullReference": "matgen.roles.hull",
    "Ordering": "matgen.roles.ordering",
    "SortedOrdering": "matgen.roles.ordering",
    "Chosen": "matgen.roles.protocol",
    "EvaluationProtocol": "matgen.roles.protocol",
    "AseRelaxer": "matgen.roles.relaxer",
    "Relaxer": "matgen.roles.relaxer",
    "TorchSimRelaxer": "matgen.roles.relaxer",
    "Grammar": "matgen.roles.representation",
    "Representation": "matgen.roles.representation",
    "Vocabulary": "matgen.roles.representation",
    "Reward": "matgen.roles.reward",
    "Sampler": "matgen.roles.sampler",
}

__all__ = ["__version__", "elements", "hookimpl", *_HOMES]  # noqa: PLE0604 - all strings


def __getattr__(name: str) -> Any:  # whatever the public name is
    if name == "elements":
        return import_module("matgen.elements")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'matgen' has no attribute {name!r}")
