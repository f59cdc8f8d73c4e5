"""Models from a folder, a web address, or the Hugging Face Hub, checked file by file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matgen.atomic import replacing_folder
from matgen.errors import BadFile, BadOptions
from matgen.io.digests import sha256_of
from matgen.io.download import FETCHED, RemoteFile, download
from matgen.models.store import named_models
from matgen.models.sums import SUMS, differing, read_sums

if TYPE_CHECKING:
    from matgen.roles.dataset import FetchObserver

HUB: Final = "https://huggingface.co"
_HUB_NAME: Final = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model lies.

    Attributes:
        place: A folder here, or the address of one; its files are ``place/NAME``.
        name: What the model is called if nobody says otherwise.
    """

    place: Path | str
    name: str

    @classmethod
    def parse(cls, text: str, *, hub: str = HUB) -> ModelSource:
        """Read a folder, ``https://…`` of a folder, or ``hf:ORGANISATION/NAME[@REVISION]``.

        Args:
            hub: Address of the Hugging Face Hub, or of a mirror.

        Raises:
            BadOptions: none of them.
        """
        if match := _HUB_NAME.fullmatch(text):
            revision = match[2] or "main"
            address = f"{hub.rstrip('/')}/{match[1]}/resolve/{revision}"
            return cls(address, match[1].partition("/")[2])
        if text.startswith(("https://", "http://")):
            return cls(text.rstrip("/"), text.rstrip("/").rpartition("/")[2])
        if Path(text).is_dir():
            return cls(Path(text), Path(text).resolve().name)
        raise BadOptions(
            f"{text} is no folder, and neither hf:ORGANISATION/NAME nor the https:// address of a "
            "folder with a model"
        )


def pull(
    source: ModelSource,
    folder: Path,
    *,
    name: str | None = None,
    sha256: str | None = None,
    observer: FetchObserver,
) -> Path:
    """Copy a model to ``folder/NAME``, whole or not at all, and return that.

    What has arrived of a broken download is kept beside it; the same call goes on.

    Args:
        folder: Of all pulled models.
        name: What to call it; the last part of its address if None.
        sha256: Of its SHA256SUMS, from somebody who is trusted more than the place.

    Raises:
        BadOptions: the name is taken, or no name.
        BadFile: no model there, or files that are not what their checksums say.
        UserError: the network; says what to do.
    """
    called = name or source.name
    if not _NAME.fullmatch(called):
        raise BadOptions(f"a model cannot be called {called!r}: choose a name with --name")
    target = folder / called
    taken = {model.name: model.folder for model in named_models()}
    if called in taken or target.exists():
        raise BadOptions(
            f"there is a model {called} already ({taken.get(called, target)}): choose another name "
            "with --name"
        )
    if isinstance(source.place, str):
        place = source.place
        arriving = folder / f".{called}.arriving"

        def get(file: str, digest: str) -> Path:
            return download(
                RemoteFile(f"{place}/{file}", file, digest), arriving, observer=observer
            )

        # The list of files may be another one than at the last, broken attempt.
        (arriving / SUMS).unlink(missing_ok=True)
        _check_list(get(SUMS, ""), sha256)
        _fetch_listed(arriving, get)
        (arriving / FETCHED).unlink(missing_ok=True)
        arriving.replace(target)
        return target
    sums = _check_list(source.place / SUMS, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing_folder(target) as arriving:
        for file in (SUMS, *sums):
            if (source.place / file).is_file():
                shutil.copyfile(source.place / file, arriving / file)
        _refuse_differing(arriving, sums, source.place)
    return target


def _check_list(path: Path, sha256: str | None) -> Mapping[str, str]:
    if not path.exists():
        raise BadFile(
            f"{path.parent} has no {SUMS}, so it is no packed model; matgen model pack makes one "
            "of a run directory"
        )
    if sha256 is not None and sha256_of(path) != sha256.lower():
        raise BadFile(f"{path} is not the one with the checksum {sha256}: do not trust that model")
    return read_sums(path)


def _fetch_listed(arriving: Path, get: Callable[[str, str], Path]) -> None:
    sums = read_sums(arriving / SUMS)
    for file, digest in sums.items():
        get(file, digest)
    _refuse_differing(arriving, sums, arriving)


def _refuse_differing(folder: Path, sums: Mapping[str, str], place: Path) -> None:
    if wrong := differing(folder, sums):
        raise BadFile(f"{place}: {', '.join(wrong)} missing or not what {SUMS} says")
