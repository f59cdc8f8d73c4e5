"""registry.toml: which of the registered names to use, and in which file that was said.

Layers, later wins: the shipped file, the user's own, ``--registry FILE``. Tables merge key by key;
lists and scalars are replaced whole.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from matgen.errors import BadFile, BadOptions


class PluginChoices(BaseModel):
    """``[plugins]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    disabled: tuple[str, ...] = ()


class OtherInterpreter(BaseModel):
    """``[elsewhere."PLUGIN:NAME"]``: the environment that a component runs in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str

    @field_validator("python")
    @classmethod
    def _absolute(cls, python: str) -> str:
        path = Path(python).expanduser()
        if not path.is_absolute():
            raise ValueError("write the whole path of an interpreter, as ~/envs/mace/bin/python")
        return str(path)


class RegistryFile(BaseModel):
    """The schema of registry.toml, all layers merged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plugins: PluginChoices = PluginChoices()
    defaults: dict[str, str | tuple[str, ...]] = {}
    aliases: dict[str, dict[str, str]] = {}
    options: dict[str, dict[str, Any]] = {}  # validated against the component's own fields
    presets: dict[str, dict[str, dict[str, Any]]] = {}  # likewise
    elsewhere: dict[str, OtherInterpreter] = {}


@dataclass(frozen=True)
class Choices:
    """The merged file and where each value came from.

    Attributes:
        file: Validated values.
        origins: Key path to (value, file it came from).
    """

    file: RegistryFile
    origins: Mapping[tuple[str, ...], tuple[object, Path]]

    @classmethod
    def load(cls, layers: Sequence[Path]) -> Choices:
        """Read and merge layers; a layer that does not exist is an error except the user's own.

        Raises:
            BadFile: unreadable or no TOML.
            BadOptions: a key that registry.toml does not have.
        """
        merged: dict[str, Any] = {}  # any TOML value
        origins: dict[tuple[str, ...], tuple[object, Path]] = {}
        for path in layers:
            table = _read(path)
            _check(table, path)
            if "elsewhere" in table and path == shipped_file():
                raise BadOptions(
                    f"{path}: [elsewhere] starts programs, so it is honoured only in your own "
                    "registry.toml and in --registry FILE"
                )
            for key, value in _leaves(table):
                origins[key] = (value, path)
            _merge(merged, table)
        return cls(RegistryFile.model_validate(merged), origins)

    def default(self, key: str) -> str:
        """Return the default name under ``[defaults]``.

        Raises:
            BadOptions: none is set, or it is a list.
        """
        value = self.file.defaults.get(key)
        if not isinstance(value, str):
            raise BadOptions(f"registry.toml sets no single default for {key!r} under [defaults]")
        return value

    def default_list(self, key: str) -> tuple[str, ...]:
        """Return a default list of names; empty where none is set."""
        value = self.file.defaults.get(key, ())
        return (value,) if isinstance(value, str) else value


def shipped_file() -> Path:
    """Return the shipped registry.toml: in the package (wheel) or at the root (checkout)."""
    package = Path(__file__).parent
    inside = package / "registry.toml"
    return inside if inside.exists() else package.parent / "registry.toml"


def _read(path: Path) -> dict[str, Any]:  # any TOML value
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{path} is not valid TOML: {error}") from None


def _check(table: dict[str, Any], path: Path) -> None:  # any TOML value
    try:
        RegistryFile.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(RegistryFile.model_fields)
        raise BadOptions(f"{path}: {where}: {first['msg']} (sections: {known})") from None


def _leaves(
    table: Mapping[str, object], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:  # any TOML value
    for key, value in table.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = _copy(value)


def _copy(value: Any) -> Any:  # any TOML value
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value
