"""A label says everything that differs from what was published, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from matgen.evaluation.protocol_label import protocol_label, short_name
from matgen.roles.hull import Hull, HullReference
from matgen.roles.protocol import Chosen, EvaluationProtocol
from matgen.roles.relaxer import Relaxer, RelaxerSession


class _Potential(Relaxer):
    """A potential."""

    name = "potential"
    energy_scale = "toy"

    weights: str = ""
    """A file."""

    def open(self, device: str) -> RelaxerSession:
        raise AssertionError(device)


class _Other(_Potential):
    """Another."""

    name = "other"


class _Hull(HullReference):
    """A hull."""

    name = "hull"
    energy_scale = "toy"

    path: str = ""
    """A file."""

    def open(self, relaxer: Any) -> Hull:
        raise AssertionError(relaxer)


class _Published(EvaluationProtocol):
    """Relaxes with potential, at most seven steps."""

    name = "published"
    relaxer = Chosen("toy:potential")
    relaxation: ClassVar[Mapping[str, Any]] = {"max_steps": 7}
    predicts = True

    strict: bool = False
    """A choice it leaves open."""

    def measures(self) -> Sequence[Chosen]:
        return ()


def label(**changes: Any) -> str:
    given: dict[str, Any] = {
        "relaxer": _Potential(max_steps=7),
        "published_relaxer": _Potential(max_steps=7),
        "hull": None,
        "reference": None,
        "truth": "",
        "per_truth": 1,
    }
    return protocol_label(_Published(), **{**given, **changes})


def test_what_was_published_is_the_bare_name() -> None:
    assert label() == "published"


def test_another_potential_is_named_with_what_it_sets_differently() -> None:
    assert label(relaxer=_Other(max_steps=7)) == "published/other"
    assert label(relaxer=_Other(max_steps=9)) == "published/other(max_steps=9)"
    assert label(relaxer=_Potential(max_steps=9)) == "published/potential(max_steps=9)"
    assert label(relaxer=None) == "published/unrelaxed"


def test_hull_and_reference_are_always_named() -> None:
    told = label(hull=_Hull(path="/home/somebody/whole.parquet"), reference=_Hull())
    assert told == "published/hull_hull(path=whole)+ref_hull"


def test_the_truth_and_the_predictions_for_each_are_told() -> None:
    assert label(truth="mp_20:test", per_truth=20) == "published/mp_20:test+k=20"


def test_a_changed_measurement_is_told() -> None:
    assert label(changed=("uniqueness(matcher=wide)",)) == "published/uniqueness(matcher=wide)"


def test_an_open_choice_is_part_of_the_name() -> None:
    assert short_name(_Published(strict=True)) == "published(strict=True)"


def test_energies_of_a_file_are_never_the_published_ones() -> None:
    assert label(given=True) == "published/given_potential"
