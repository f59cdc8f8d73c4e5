"""The name under which the figures of an evaluation may be compared with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matgen.roles.component import Component
    from matgen.roles.protocol import EvaluationProtocol


def protocol_label(
    protocol: EvaluationProtocol,
    *,
    relaxer: Component | None,
    published_relaxer: Component | None,
    hull: Component | None,
    reference: Component | None,
    truth: str,
    per_truth: int,
    changed: Sequence[str] = (),
    given: bool = False,
) -> str:
    """Return ``mattergen/chgnet+hull_mp2020+ref_mp_le20``: what differs from what was published.

    Args:
        relaxer: That of this evaluation.
        published_relaxer: The protocol's own potential with its settings, None if it has none.
        hull, reference: Those of this evaluation.
        truth: Name of the crystals to predict or imitate, empty where there are none.
        per_truth: Predictions for each of them.
        changed: Evaluators that measure otherwise than the protocol says, and how.
        given: Whether relaxed crystals and energies came from a file; nobody knows how they were
            relaxed.
    """
    parts = []
    if given:
        parts.append(f"given_{relaxer.name if relaxer else 'energies'}")
    elif relaxer != published_relaxer:
        fixed = {**_fields(published_relaxer), **protocol.relaxation}
        parts.append(short_name(relaxer, fixed) if relaxer else "unrelaxed")
    # No published hull or reference can be had here, so whatever is used is not it.
    if hull is not None:
        parts.append(f"hull_{short_name(hull)}")
    if reference is not None:
        parts.append(f"ref_{short_name(reference)}")
    if truth:
        parts.append(truth)
    if truth and protocol.predicts:
        parts.append(f"k={per_truth}")
    parts += changed
    name = short_name(protocol)
    return f"{name}/{'+'.join(parts)}" if parts else name


def short_name(component: Component, usual: Mapping[str, object] | None = None) -> str:
    """Return a component's name with the settings that differ from the usual ones.

    Args:
        usual: Field to value where it is not the field's default.
    """
    differing = []
    for field, about in type(component).model_fields.items():
        value = getattr(component, field)
        expected = (usual or {}).get(field, about.get_default(call_default_factory=True))
        if value != expected:
            differing.append(f"{field}={_short(value)}")
    return f"{component.name}({','.join(differing)})" if differing else component.name


def _fields(component: Component | None) -> dict[str, object]:
    if component is None:
        return {}
    return {name: getattr(component, name) for name in type(component).model_fields}


def _short(value: object) -> str:
    """Return a value in few letters; of a path only the name, the same on every machine."""
    text = str(value)
    return PurePath(text).stem if isinstance(value, str) and "/" in text else text
