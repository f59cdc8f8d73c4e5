"""Finds plugins through entry points and turns names into components.

Used at the edge only (commands, run files): the engine sees components, never names. Nothing is
global: a catalog is made where it is needed and passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from pydantic import ValidationError

from matgen import hookspecs
from matgen.choices import Choices, shipped_file
from matgen.errors import BadOptions, MatgenError, NewerFormat, PluginProblem, UnknownName
from matgen.registry import Registry
from matgen.roles import ROLES, role

if TYPE_CHECKING:
    from matgen.elsewhere import Place
    from matgen.roles.component import Component

GROUP = "matgen"
"""Entry-point group of plugins, first-party and third-party alike."""


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as found.

    Attributes:
        name: Its entry-point name, the part before the colon of its components.
        distribution: What to ``pip install`` to get it.
        problem: Why it cannot be used, empty if it can.
    """

    name: str
    distribution: str
    version: str
    module: str
    problem: str = ""


class Catalog:
    """The components on offer, by role and name.

    Attributes:
        cache: Folder under which datasets find what ``matgen data fetch`` got; None where only
            their ``path`` says.
    """

    def __init__(
        self, choices: Choices, points: Sequence[EntryPoint], *, cache: Path | None = None
    ) -> None:
        self.choices = choices
        self.cache = cache
        self._points = sorted(points, key=lambda point: (point.name, point.value))
        self._manager: pluggy.PluginManager | None = None
        self._infos: dict[str, PluginInfo] = {}
        self._registries: dict[str, Registry] = {}

    @classmethod
    def load(cls, *layers: Path, cache: Path | None = None) -> Catalog:
        """Return the catalog of the installed plugins.

        Args:
            layers: registry.toml files over the shipped one, later wins.
            cache: See the class.
        """
        choices = Choices.load([shipped_file(), *layers])
        return cls(choices, tuple(entry_points(group=GROUP)), cache=cache)

    def plugins(self) -> list[PluginInfo]:
        """Return every plugin found, the broken and the disabled too."""
        self._plugin_manager()
        return list(self._infos.values())

    def registry(self, role_name: str) -> Registry:
        """Return the registry of a role, its hook fired on first use."""
        if role_name not in self._registries:
            self._registries[role_name] = self._collect(role_name)
        return self._registries[role_name]

    def names(self, role_name: str) -> list[str]:
        """Return the qualified names of a role."""
        return list(self.registry(role_name).classes)

    def resolve(self, role_name: str, name: str) -> str:
        """Return the qualified name; a plugin that failed to load is named as the cause.

        Raises:
            UnknownName, AmbiguousName: see ``Registry.resolve``.
        """
        try:
            return self.registry(role_name).resolve(name)
        except UnknownName as error:
            broken = [info for info in self._infos.values() if info.problem]
            wanted = name.partition(":")[0] if ":" in name else ""
            causes = [i for i in broken if not wanted or i.name == wanted]
            if not causes:
                raise
            told = "; ".join(f"plugin {info.name!r}: {info.problem}" for info in causes)
            raise UnknownName(f"{error} ({told})") from None

    def get(self, role_name: str, name: str) -> type[Component]:
        """Return the class that a name stands for."""
        return self.registry(role_name).classes[self.resolve(role_name, name)]

    def build(
        self, role_name: str, name: str, settings: Mapping[str, Any] | None = None
    ) -> Component:  # settings: values as typed by a person, validated by the component
        """Return a component: its defaults, then registry.toml's options, then ``settings``.

        Raises:
            BadOptions: a setting that the component does not have, or a value it refuses.
        """
        qualified = self.resolve(role_name, name)
        options = self.choices.file.options.get(qualified, {})
        cls = self.registry(role_name).classes[qualified]
        return self._placed(_construct(cls, qualified, {**options, **(settings or {})}))

    def qualified_name(self, component: Component) -> str:
        """Return ``plugin:name`` of a component.

        Raises:
            PluginProblem: no plugin registers its class, so a saved run could not be read back.
        """
        for qualified, cls in self.registry(role_of(component)).classes.items():
            if cls is type(component):
                return qualified
        raise PluginProblem(
            f"{type(component).__name__} is offered by no plugin; return it from a hook so that "
            "runs made with it can be read back"
        )

    def dump(self, component: Component) -> dict[str, Any]:  # JSON values
        """Return ``{role, use, revision, settings}``, nested components likewise, all fields."""
        settings = {
            field: self._dump_value(getattr(component, field))
            for field in type(component).model_fields
        }
        return {
            "role": role_of(component),
            "use": self.qualified_name(component),
            "revision": component.revision,
            "settings": settings,
        }

    def restore(self, saved: Mapping[str, Any]) -> Component:  # JSON values
        """Return the component that ``dump`` wrote; registry.toml has no say in it.

        Raises:
            UnknownName: its plugin is not installed.
            NewerFormat: written by a newer revision of the class.
            BadOptions: settings that the class no longer accepts.
        """
        role_name, qualified = str(saved["role"]), str(saved["use"])
        cls = self.get(role_name, qualified)
        revision = int(saved["revision"])
        if revision > cls.revision:
            raise NewerFormat(
                f"{qualified} was saved by revision {revision}, this installation has "
                f"{cls.revision}; upgrade the plugin"
            )
        settings = {key: self._restore_value(value) for key, value in saved["settings"].items()}
        if revision < cls.revision:
            settings = cls.upgrade(settings, revision)
        return self._placed(_construct(cls, qualified, settings))

    def _placed(self, component: Component) -> Component:
        """Return a component that knows where the cache is, or where it runs, if it asks."""
        from matgen.roles.dataset import FetchedDataset
        from matgen.roles.relaxer import Relaxer

        if self.cache is not None and isinstance(component, FetchedDataset):
            return component.cached_under(self.cache)
        if isinstance(component, Relaxer):
            return component.placed(self._place(self.qualified_name(component)))
        return component

    def _place(self, use: str) -> Place:
        """Return where a relaxer runs: in this interpreter, or where ``[elsewhere]`` says.

        Raises:
            UnknownName, BadOptions: ``[elsewhere]`` names no relaxer, or no program.
        """
        from matgen.elsewhere import Place
        from matgen.worker_process import runnable

        for key, chosen in self.choices.file.elsewhere.items():
            _, file = self.choices.origins["elsewhere", key, "python"]
            told = f'{file}: [elsewhere."{key}"]'
            try:
                meant = self.resolve("relaxer", key)
            except UnknownName as error:
                raise UnknownName(f"{told}: {error}") from None
            if meant == use:
                if not runnable(chosen.python):
                    raise BadOptions(
                        f"{told}: python = {chosen.python} is no program that can be started"
                    )
                return Place(use, chosen.python, told)
        return Place(use)

    def _dump_value(self, value: Any) -> Any:  # a field of any type; JSON out
        from pydantic_core import to_jsonable_python

        from matgen.roles.component import Component

        if isinstance(value, Component):
            return self.dump(value)
        if isinstance(value, Mapping):
            return {key: self._dump_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._dump_value(item) for item in value]
        return to_jsonable_python(value)

    def _restore_value(self, value: Any) -> Any:  # JSON in
        if isinstance(value, Mapping):
            if {"role", "use", "revision", "settings"} == set(value):
                return self.restore(value)
            return {key: self._restore_value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._restore_value(item) for item in value]
        return value

    def _plugin_manager(self) -> pluggy.PluginManager:
        if self._manager is not None:
            return self._manager
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        disabled = self.choices.file.plugins.disabled
        for point in self._points:
            info = _describe(point)
            if point.name in self._infos:
                other = self._infos[point.name]
                raise PluginProblem(
                    f"two distributions offer a plugin called {point.name!r}: "
                    f"{other.distribution} and {info.distribution}; uninstall one"
                )
            problem = "disabled in registry.toml" if point.name in disabled else ""
            if not problem:
                problem = _register(manager, point)
            self._infos[point.name] = PluginInfo(
                info.name, info.distribution, info.version, info.module, problem
            )
        self._manager = manager
        return manager

    def _collect(self, role_name: str) -> Registry:
        slot = role(role_name)
        manager = self._plugin_manager()
        registry = Registry(slot, self.choices.file.aliases.get(role_name, {}))
        plugins = manager.get_plugins()
        for plugin in sorted(plugins, key=lambda module: str(manager.get_name(module))):
            name = str(manager.get_name(plugin))
            caller = manager.subset_hook_caller(slot.hook, [p for p in plugins if p is not plugin])
            try:
                registry.add(name, [cls for classes in caller() for cls in classes])
            except MatgenError as error:
                self._blame(name, str(error))
            except Exception as error:  # noqa: BLE001 - fence: one broken plugin must not stop all
                self._blame(name, f"{slot.hook} failed: {type(error).__name__}: {error}")
        return registry

    def _blame(self, name: str, problem: str) -> None:
        info = self._infos[name]
        self._infos[name] = PluginInfo(
            info.name, info.distribution, info.version, info.module, problem
        )


def role_of(component: Component) -> str:
    """Return the name of the role that a component fills."""
    for base in type(component).__mro__:
        for slot in ROLES.values():
            if base.__name__ == slot.class_name and base.__module__ == f"matgen.roles.{slot.name}":
                return slot.name
    raise PluginProblem(f"{type(component).__name__} fills no role of matgen")


def _construct(
    cls: type[Component], qualified: str, settings: Mapping[str, Any]
) -> Component:  # settings as in build
    try:
        return cls(**settings)
    except ValidationError as error:
        raise BadOptions(_readable(cls, qualified, error)) from None


def _readable(cls: type[Component], qualified: str, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        known = ", ".join(cls.model_fields) or "it has none"
        return f"{qualified} has no setting {where!r}; settings: {known}"
    if first["type"] == "missing":
        return f"{qualified} needs a value for {where!r}: --set {cls.name}.{where}=VALUE"
    return f"{qualified}: {where}={first['input']!r}: {first['msg'].lower()}"


def _describe(point: EntryPoint) -> PluginInfo:
    distribution = point.dist
    name = distribution.name if distribution else "(no distribution)"
    version = distribution.version if distribution else ""
    return PluginInfo(point.name, name, version, point.value)


def _register(manager: pluggy.PluginManager, point: EntryPoint) -> str:
    """Import and register one plugin; return what is wrong with it, or nothing."""
    try:
        module = point.load()
    except Exception as error:  # noqa: BLE001 - fence: one broken plugin must not stop all
        return f"failed to import: {type(error).__name__}: {error}"
    manager.register(module, name=point.name)
    unknown = [
        caller.name
        for caller in manager.get_hookcallers(module) or []
        if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls())
    ]
    if unknown:
        manager.unregister(module)
        known = ", ".join(slot.hook for slot in ROLES.values())
        return f"implements {', '.join(unknown)}, which is no hook of matgen (hooks: {known})"
    return ""
