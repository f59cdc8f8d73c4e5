"""What a folder of samples in shards says of itself: ``manifest.json``.

::

    manifest.json           what is sampled, and the shards that are finished
    shard-000000.parquet …  the samples, by index (or .extxyz)
    unique.parquet          index and number of copies of the first of equal crystals
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from matgen.atomic import read_json, write_json
from matgen.errors import BadFile, BadOptions, NewerFormat

SHARD_MANIFEST: Final = "manifest.json"
UNIQUE: Final = "unique.parquet"
FORMAT: Final = 1
"""Version of the layout of the folder."""
_KIND: Final = "samples in shards"
ShardFormat: TypeAlias = Literal["parquet", "extxyz"]


@dataclass(frozen=True)
class FinishedShard:
    """A shard that is on disk.

    Attributes:
        number: Position among the shards.
        first: Index of its first sample.
        rows: Samples in it, those without a crystal too.
        written: Crystals.
        unfinished: Samples without a crystal.
        seconds: Wall time that it took its worker.
        sha256: Of the file.
    """

    number: int
    first: int
    rows: int
    written: int
    unfinished: int
    seconds: float
    sha256: str


@dataclass(frozen=True)
class UniqueCounts:
    """How many different crystals there are, by their hashes.

    Attributes:
        unique: Different hashes.
        duplicates: Crystals whose hash an earlier sample has.
        without_hash: Crystals that have none: too flat a cell.
        sha256: Of ``unique.parquet``.
    """

    unique: int
    duplicates: int
    without_hash: int
    sha256: str


@dataclass(frozen=True, eq=False)
class ShardManifest:
    """The content of ``manifest.json``.

    Attributes:
        plan: Everything that decides the samples, as JSON values.
        versions: Of the libraries that wrote the first shard.
        asked: Samples in all shards together.
        shard_size: Samples per shard; the last may have fewer.
        file_format: Of the shards.
        shards: Number to what is known of the shard, for the finished ones.
        unique: None until every shard is there and was looked through.
    """

    plan: Mapping[str, Any]  # JSON values
    versions: Mapping[str, str]
    asked: int
    shard_size: int
    file_format: ShardFormat
    shards: Mapping[int, FinishedShard] = field(default_factory=dict)
    unique: UniqueCounts | None = None

    @property
    def n_shards(self) -> int:
        """Shards that there will be."""
        return -(-self.asked // self.shard_size)

    @property
    def is_complete(self) -> bool:
        """Whether every shard is finished."""
        return len(self.shards) == self.n_shards

    def path_of(self, number: int, folder: Path) -> Path:
        """Return the file of a shard."""
        return folder / shard_name(number, self.file_format)

    def with_shard(self, shard: FinishedShard) -> ShardManifest:
        """Return the manifest with one more shard; duplicates are to be counted again."""
        return replace(self, shards={**self.shards, shard.number: shard}, unique=None)

    def write(self, folder: Path) -> None:
        """Write it atomically."""
        write_json(
            folder / SHARD_MANIFEST,
            {
                "kind": _KIND,
                "format": FORMAT,
                "fingerprint": fingerprint(self.plan),
                "asked": self.asked,
                "shard_size": self.shard_size,
                "file_format": self.file_format,
                "plan": self.plan,
                "versions": self.versions,
                "unique": None if self.unique is None else asdict(self.unique),
                "shards": [asdict(self.shards[number]) for number in sorted(self.shards)],
            },
        )

    @classmethod
    def read(cls, folder: Path) -> ShardManifest | None:
        """Return the manifest of a folder; None where it has none of this kind.

        Raises:
            BadFile: damaged.
            NewerFormat: written by a newer matgen.
        """
        path = folder / SHARD_MANIFEST
        if not path.is_file():
            return None
        saved: dict[str, Any] = read_json(path)
        if saved.get("kind") != _KIND:
            return None
        if saved.get("format") != FORMAT:
            raise NewerFormat(
                f"{path} has format {saved.get('format')}, this installation reads {FORMAT}: "
                "pip install --upgrade matgen"
            )
        try:
            found = [FinishedShard(**shard) for shard in saved["shards"]]
            return cls(
                plan=saved["plan"],
                versions=saved["versions"],
                asked=saved["asked"],
                shard_size=saved["shard_size"],
                file_format=saved["file_format"],
                shards={shard.number: shard for shard in found},
                unique=None if saved["unique"] is None else UniqueCounts(**saved["unique"]),
            )
        except (KeyError, TypeError) as error:
            raise BadFile(f"{path} is damaged: {error}") from None


def shard_name(number: int, file_format: ShardFormat) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number:06d}.{file_format}"


def shards_of(folder: Path) -> list[Path] | None:
    """Return the files of a folder of shards, in the order of their samples.

    Returns:
        None where the folder is no such folder.

    Raises:
        BadFile: a shard is not finished: rates over the others would have a wrong denominator.
    """
    manifest = ShardManifest.read(folder)
    if manifest is None:
        return None
    if not manifest.is_complete:
        raise BadFile(
            f"{folder} holds {len(manifest.shards)} of {manifest.n_shards} shards; go on with the "
            "command that began it, or read single shards"
        )
    return [manifest.path_of(number, folder) for number in range(manifest.n_shards)]


def fingerprint(plan: Mapping[str, Any]) -> str:  # JSON values
    """Return the SHA-256 of a plan, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def refuse_another(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise if two plans differ; their values are JSON.

    Raises:
        BadOptions: says what differs first.
    """
    # As JSON, in which 1.0 of a person and 1 of a program may both stand, tuples are lists.
    difference = _difference(saved, json.loads(json.dumps(now)), "")
    if difference:
        raise BadOptions(
            f"{folder} holds samples of another plan: {difference}; choose another folder, or the "
            "same settings to go on"
        )


def _difference(saved: Any, now: Any, where: str) -> str:  # JSON values
    if isinstance(saved, dict) and isinstance(now, dict):
        for key in [*saved, *(key for key in now if key not in saved)]:
            told = _difference(saved.get(key), now.get(key), f"{where}.{key}" if where else key)
            if told:
                return told
        return ""
    if isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        pairs = enumerate(zip(saved, now, strict=True))
        return next(
            (told for i, (a, b) in pairs if (told := _difference(a, b, f"{where}.{i}"))), ""
        )
    return "" if saved == now else f"{where} is {_short(saved)} there, and {_short(now)} now"


def _short(value: Any) -> str:  # a JSON value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
