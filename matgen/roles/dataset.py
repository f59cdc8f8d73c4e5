"""Role: where crystals and their properties come from."""

from __future__ import annotations

import hashlib
import json
import shlex
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from pydantic import PrivateAttr

from matgen.errors import BadFile
from matgen.records import LabelSource
from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Record, Skipped

Split: TypeAlias = Literal["train", "val", "test"]


class DatasetSource(Component):
    """Crystals with properties, in a fixed order."""

    @property
    @abstractmethod
    def units(self) -> Mapping[str, str]:
        """Property name to unit, for every property that any record may carry."""

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """Property name to every source its values come from; one, the dataset, unless it mixes.

        A record of a dataset that mixes says in ``Record.sources`` which one its value is from, and
        a condition is trained only on the sources that it names.
        """
        return {name: (LabelSource(self.name),) for name in self.units}

    @property
    def licence(self) -> str:
        """Under what its crystals may be used, as "CC BY 4.0"; empty where nobody said."""
        return ""

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that the dataset has; ``train`` always."""
        return ("train", "val")

    @property
    def reduced(self) -> bool:
        """Whether every crystal is already in its canonical cell (saves finding it)."""
        return False

    def for_conditions(self, labels: frozenset[str]) -> DatasetSource:
        """Return this dataset with the rows that suit conditions a person asked for by name.

        A dataset that leaves out rows by some property may bring them back when a model is to
        learn that property. Settings that were given explicitly stay.
        """
        del labels
        return self

    @abstractmethod
    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of one split, always in the same order.

        Args:
            split: One of ``splits``; the same material is never in two of them.
            on_skip: Called for every entry that cannot become a record; without it such an entry
                raises.

        Raises:
            BadCrystal, BadFile: an entry or the source is unreadable.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes whenever the records or their order do."""


class FetchObserver(Protocol):
    """Hears how far a download is."""

    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        """So much of a part is here.

        Args:
            part: A file, or the answers to one query.
            done: Counted from the start of the part, also where it was resumed.
            total: How much there is; None where the server does not say.
            unit: ``bytes`` or ``entries``.
        """


class FetchedDataset(DatasetSource):
    """A dataset whose files a person gets once with ``matgen data fetch NAME``.

    They lie in ``path``, else in a folder under the cache that the catalog was given. Where that is
    changes no fingerprint.
    """

    selects: ClassVar[tuple[str, ...]] = ()
    """Settings that decide what is fetched; the cache has a folder for each choice of them."""
    rules: ClassVar[str] = "1"
    """Raised whenever the choice, labels or order of the records change with the same files."""

    path: str = ""
    """Folder of its files; the one that `matgen data fetch` fills if left out."""

    _cache: Path | None = PrivateAttr(default=None)

    @abstractmethod
    def fetch(self, folder: Path, *, observer: FetchObserver, api_key: str = "") -> None:
        """Put the files into a folder.

        What is there and whole is kept; interrupted, a later call goes on where this one stopped.

        Args:
            api_key: Key to the provider's service, for a provider that wants one.

        Raises:
            UserError: the network, the server or the disk; one sentence.
        """

    @abstractmethod
    def files(self, folder: Path) -> Sequence[Path]:
        """Return the files under a folder that the records are read from, whether there or not."""

    def cached_under(self, cache: Path) -> FetchedDataset:
        """Return this dataset with its files under a cache folder, unless ``path`` says where."""
        placed = self.model_copy()
        placed._cache = cache  # noqa: SLF001 - its own, of a copy
        return placed

    def folder(self) -> Path:
        """Return where its files are, or where they would be fetched to.

        Raises:
            BadFile: neither ``path`` nor a cache folder was given.
        """
        if self.path:
            return Path(self.path)
        if self._cache is None:
            raise BadFile(f"{self.name} needs the folder of its files: --set dataset.path=DIR")
        chosen = {name: getattr(self, name) for name in self.selects}
        if not chosen:
            return self._cache / "datasets" / self.name
        digest = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]
        return self._cache / "datasets" / f"{self.name}-{digest}"

    def is_fetched(self) -> bool:
        """Whether every file is there."""
        return all(path.is_file() for path in self.files(self.folder()))

    def fetched_folder(self) -> Path:
        """Return the folder of its files.

        Raises:
            BadFile: a file is not there, or is a git-LFS pointer; says how to get it.
        """
        from matgen.io.git_lfs import refuse_pointer

        folder = self.folder()
        missing = [path for path in self.files(folder) if not path.is_file()]
        if missing and self.path:
            raise BadFile(f"{missing[0]} is not there; get it with: {self._command()}")
        if missing:
            raise BadFile(f"{self.name} is not on this machine; get it with: {self._command()}")
        for path in self.files(folder):
            refuse_pointer(path)
        return folder

    def damaged(self, path: Path, reason: str) -> BadFile:
        """Return the error for a file that is not what was fetched: cut short, or garbled."""
        return BadFile(f"{path} is damaged: {reason}; get it again with: {self._command()}")

    def fingerprint(self) -> str:
        """Return a digest of the settings and of the contents of the files."""
        from matgen.io.digests import folder_digest

        folder = self.fetched_folder()
        settings = self.model_dump_json(exclude={"path"})
        content = folder_digest(folder, self.files(folder))
        digest = hashlib.sha256(f"{settings}\0{content}".encode()).hexdigest()
        return f"{self.name}-{self.rules}-{digest[:16]}"

    def _command(self) -> str:
        words = ["matgen", "data", "fetch", self.name]
        for name in self.selects:
            if name in self.model_fields_set:
                words += ["--set", f"dataset.{name}={json.dumps(getattr(self, name))}"]
        if self.path:
            words += ["--out", self.path]
        return shlex.join(words)
