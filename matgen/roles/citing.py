"""What a component is made of: itself and the components among its settings, for references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matgen.roles.component import Component


def with_parts(component: Component) -> Iterator[Component]:
    """Yield a component, then every one in its settings, however deep."""
    yield component
    for name in type(component).model_fields:
        yield from _within(getattr(component, name))


def references(component: Component) -> tuple[str, ...]:
    """Return what to cite for a component and its parts, each once."""
    return tuple(dict.fromkeys(text for part in with_parts(component) for text in part.cites))


def _within(value: object) -> Iterator[Component]:
    if isinstance(value, Component):
        yield from with_parts(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _within(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _within(item)
