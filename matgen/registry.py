"""One role: names to classes, with suggestions when a name is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isabstract
from typing import TYPE_CHECKING

from matgen.errors import AmbiguousName, PluginProblem, UnknownName

if TYPE_CHECKING:
    from matgen.roles import Role
    from matgen.roles.component import Component


@dataclass
class Registry:
    """What plugins offer for one role.

    Attributes:
        role: The slot.
        aliases: Friendly name to qualified name; settles ambiguity too.
        classes: Qualified name to class, in the order plugins were found.
    """

    role: Role
    aliases: Mapping[str, str] = field(default_factory=dict)
    classes: dict[str, type[Component]] = field(default_factory=dict)

    def add(self, plugin: str, offered: Iterable[type[Component]]) -> None:
        """Register what one plugin's hook returned.

        Raises:
            PluginProblem: not a concrete class of this role, or without a name.
            AmbiguousName: the plugin offers one name twice.
        """
        base = self.role.base()
        for cls in offered:
            if not (isinstance(cls, type) and issubclass(cls, base)):
                raise PluginProblem(
                    f"plugin {plugin!r}: {self.role.hook} must return subclasses of "
                    f"{base.__name__}, not {cls!r}"
                )
            if isabstract(cls):
                missing = ", ".join(sorted(cls.__abstractmethods__))
                raise PluginProblem(f"plugin {plugin!r}: {cls.__name__} does not define {missing}")
            name = getattr(cls, "name", None)
            if not isinstance(name, str) or not name or ":" in name:
                raise PluginProblem(
                    f"plugin {plugin!r}: {cls.__name__}.name must be a text without ':', "
                    f"not {name!r}"
                )
            qualified = f"{plugin}:{name}"
            if qualified in self.classes:
                raise AmbiguousName(
                    f"plugin {plugin!r} offers two {self.role.name}s called {name!r}: "
                    f"{self.classes[qualified].__qualname__} and {cls.__qualname__}"
                )
            self.classes[qualified] = cls

    def resolve(self, name: str) -> str:
        """Return the qualified name of an alias, a bare name or a qualified name.

        Raises:
            UnknownName: nothing answers to it; the message suggests and lists.
            AmbiguousName: a bare name that several plugins offer.
        """
        name = self.aliases.get(name, name)
        if name in self.classes:
            return name
        candidates = [known for known in self.classes if known.partition(":")[2] == name]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise AmbiguousName(
                f"several plugins offer a {self.role.name} called {name!r}: "
                f"{', '.join(candidates)}; write one of these, or add an alias to registry.toml"
            )
        raise UnknownName(self._unknown(name))

    def get(self, name: str) -> type[Component]:
        """Return the class that ``name`` resolves to."""
        return self.classes[self.resolve(name)]

    def _unknown(self, name: str) -> str:
        bare = {known.partition(":")[2] for known in self.classes}
        known = sorted(bare | set(self.aliases))
        close = difflib.get_close_matches(name.partition(":")[2] or name, known, n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        listed = ", ".join(known) or "none is registered"
        return f"no {self.role.name} is called {name!r}{hint}; known: {listed}"
