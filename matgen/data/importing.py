"""Any source of crystals becomes the folder of a dataset, in pieces that workers do side by side.

Each finished piece is a file in a hidden folder beside the result, so that a stop, a kill or a full
disk costs at most the pieces in work, and the same command goes on where it was. The folder is
called by a digest of the settings and of the sources: other sources begin anew.
"""

from __future__ import annotations

import glob
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from matgen import __version__
from matgen.atomic import replacing_folder
from matgen.data.dataset_pieces import dataset_pieces
from matgen.data.import_assembly import Assembled, assemble, counted_in, counted_parts
from matgen.data.import_piece import REST_LOST, Counted, PieceTask, do_piece, part_path
from matgen.data.import_plan import Columns, ImportSettings, ImportSource, import_digest
from matgen.data.imported_folder import DESCRIPTION, PROBLEMS, Description
from matgen.errors import BadFile, BadOptions
from matgen.io.pieces import Piece
from matgen.io.sources import pieces
from matgen.roles.dataset import Split
from matgen.roles.executor import Executor

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_FINISHED = "finished"


class ImportObserver(Protocol):
    """Hears how far an import is."""

    def on_start(self, n_bytes: int | None) -> None:
        """Hear the size of the sources; None where it is not known."""

    def on_piece(self, n_bytes: int, n_crystals: int, n_problems: int, *, is_new: bool) -> None:
        """Hear of a finished piece; it was there already unless ``is_new``."""

    def on_assembly(self) -> None:
        """Hear that all pieces are done."""


@dataclass(frozen=True)
class ImportReport:
    """What became of the sources.

    Attributes:
        folder: The dataset.
        description: What its dataset.json says.
        counted: Of all pieces; empty where the dataset was there already.
        examples: Kind of problem to the first one, as problems.jsonl has it.
        was_there: Whether the same import had finished before.
    """

    folder: Path
    description: Description
    counted: Counted
    examples: Mapping[str, str]
    was_there: bool = False

    @property
    def n_entries(self) -> int:
        """Entries read: crystals and those left out."""
        return self.counted.n_crystals + self.counted.n_problems


def import_crystals(
    sources: Sequence[ImportSource],
    folder: Path,
    settings: ImportSettings,
    executor: Executor,
    observer: ImportObserver,
    *,
    problems: Literal["report", "refuse"],
) -> ImportReport:
    """Import sources into a folder; see ``docs/importing.md``.

    Args:
        folder: Must not exist, unless the same import has finished.
        problems: ``report`` leaves out entries that are no crystals and says so in problems.jsonl;
            ``refuse`` makes no dataset if there are any.

    Raises:
        BadOptions: settings that cannot work, a folder that is there, another import at work.
        BadFile: a source is missing, nothing in it is a crystal, or problems were to be refused.
    """
    chosen = tuple(sources)
    columns = Columns.of(chosen, settings)
    digest = import_digest(chosen, settings)
    _check_place(folder, chosen)
    if (there := _finished(folder, digest)) is not None:
        report = ImportReport(folder, there, Counted(), {}, was_there=True)
        if problems == "refuse" and (folder / PROBLEMS).stat().st_size:
            raise BadFile(f"{folder} was imported with problems; see {folder / PROBLEMS}")
        return report
    with _work_folder(folder, digest) as work:
        n_parts = _do_pieces(work, chosen, columns, settings, executor, observer)
        observer.on_assembly()
        counted = counted_parts(work, n_parts)
        label_sources = columns.seen(counted.labels)
        sourced = [title for title, several in label_sources.items() if len(several) > 1]
        with _kept_if_good(work), replacing_folder(work / _FINISHED) as result:
            assembled = assemble(work, n_parts, result, columns.units, sourced, counted)
            _check(assembled, folder, chosen, problems)
            made_from = {
                "digest": digest,
                "matgen": __version__,
                "sources": [source.told() for source in chosen],
                "licence": _licence(chosen),
                "settings": asdict(settings),
            }
            Description(
                title=folder.name,
                units=columns.units,
                label_sources=label_sources,
                splits=[s for s in _SPLITS if s in {"train", *assembled.splits}],
                split_by=_split_by(counted),
                counts={**assembled.splits, "left_out": dict(assembled.counted.kinds)},
                made_from=made_from,
                reduced=settings.cell == "canonical",
            ).write(result)
        _publish(work / _FINISHED, folder)
        shutil.rmtree(work)
    description = Description.read(folder)
    return ImportReport(folder, description, assembled.counted, assembled.examples)


def _do_pieces(
    work: Path,
    sources: Sequence[ImportSource],
    columns: Columns,
    settings: ImportSettings,
    executor: Executor,
    observer: ImportObserver,
) -> int:
    """Write the parts that are not there yet; return how many there are in all."""
    sizes = [source.n_bytes for source in sources]
    observer.on_start(None if None in sizes else sum(size or 0 for size in sizes))
    n_parts = 0

    def missing() -> Iterator[PieceTask]:
        nonlocal n_parts
        for task in _tasks(work, sources, columns, settings):
            n_parts += 1
            part = part_path(work, task.number)
            if not part.exists():
                yield task
                continue
            counted = counted_in(part)
            size = task.piece.n_bytes
            observer.on_piece(size, counted.n_crystals, counted.n_problems, is_new=False)

    with executor.open() as pool:
        for n_bytes, counted in pool.map(do_piece, missing()):
            observer.on_piece(n_bytes, counted.n_crystals, counted.n_problems, is_new=True)
    return n_parts


def _tasks(
    work: Path, sources: Sequence[ImportSource], columns: Columns, settings: ImportSettings
) -> Iterator[PieceTask]:
    number = 0
    for source in sources:
        prefix = _prefix(source, sources)
        names = columns.read_from(source, settings)
        read = {title: columns.units[title] for title in names}
        for piece in _pieces(source):
            yield PieceTask(number, piece, names, read, columns.units, prefix, settings, work)
            number += 1


def _prefix(source: ImportSource, sources: Sequence[ImportSource]) -> str:
    """Return what tells entries without ids of several sources apart."""
    if len(sources) == 1:
        return ""
    names = [Path(other.given).name for other in sources]
    name = Path(source.given).name
    return f"{name if names.count(name) == 1 else source.given}/"


def _pieces(source: ImportSource) -> Iterator[Piece]:
    if isinstance(source.read, Path):
        yield from pieces(source.read)
    else:
        yield from dataset_pieces(source.read, source.given)


def _check(
    assembled: Assembled,
    folder: Path,
    sources: Sequence[ImportSource],
    problems: Literal["report", "refuse"],
) -> None:
    """Raise if there is nothing to keep, or something that was not to be left out."""
    counted = assembled.counted
    given = ", ".join(source.given for source in sources)
    if not counted.n_problems and not counted.n_crystals:
        raise BadFile(f"{given} holds no crystals")
    if counted.n_crystals and not (problems == "refuse" and counted.n_problems):
        return
    first = json.loads(assembled.first_problem)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counted.kinds.most_common())
    more = ""
    if counted.kinds[REST_LOST]:
        more = "; how many more entries the rest that cannot be read holds is unknown"
    if counted.n_crystals:
        more += f"; without --strict they are left out and listed in {folder / PROBLEMS}"
    raise BadFile(
        f"{counted.n_problems} of {counted.n_crystals + counted.n_problems} entries of {given} "
        f"would be left out ({kinds}); the first, {first['source']}: {first['reason']}{more}"
    )


def _licence(chosen: Sequence[ImportSource]) -> str:
    """Return the licences that registered datasets among the sources state."""
    stated = [s.read.licence for s in chosen if not isinstance(s.read, Path)]
    return "; ".join(dict.fromkeys(licence for licence in stated if licence))


def _split_by(counted: Counted) -> str:
    if not counted.splits["given"]:
        return "reduced formula"
    if not counted.splits["drawn"]:
        return "the source"
    return "the source; reduced formula where it says none"


def _check_place(folder: Path, sources: Sequence[ImportSource]) -> None:
    """Raise if the result would be among the files that are read."""
    place = folder.resolve()
    for source in sources:
        if isinstance(source.read, Path) and place.is_relative_to(source.read.resolve()):
            raise BadOptions(
                f"{folder} is inside {source.given}, which is read; choose another --out"
            )


def _finished(folder: Path, digest: str) -> Description | None:
    """Return the description of the same import, None where there is nothing.

    Raises:
        BadOptions: something else is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if (folder / DESCRIPTION).exists():
        description = Description.read(folder)
        if description.made_from.get("digest") == digest:
            return description
        raise BadOptions(
            f"{folder} was made from other sources or settings; remove it or choose another --out"
        )
    raise BadOptions(f"{folder} exists and is no dataset; choose another --out")


@contextmanager
def _work_folder(folder: Path, digest: str) -> Iterator[Path]:
    """Give the folder of the parts, alone; those of other sources or settings go.

    Raises:
        BadOptions: another process imports into the same folder, or it cannot be made.
    """
    parent = folder.absolute().parent
    work = parent / f".{folder.name}.import-{digest}"
    for other in sorted(parent.glob(f".{glob.escape(folder.name)}.import-*")):
        if other != work:
            with _locked(other, folder):
                shutil.rmtree(other)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOptions(
            f"cannot make a folder in {parent}: {error.strerror or error}; choose another --out"
        ) from None
    with _locked(work, folder):
        # What a killed process was writing.
        for torn in work.glob(".*"):
            shutil.rmtree(torn) if torn.is_dir() else torn.unlink(missing_ok=True)
        shutil.rmtree(work / _FINISHED, ignore_errors=True)
        try:
            yield work
        finally:
            if work.exists() and not any(work.glob("part-*.parquet")):
                shutil.rmtree(work)  # nothing to go on from


@contextmanager
def _kept_if_good(work: Path) -> Iterator[None]:
    """Remove the parts if what they make is refused: the same command would be refused again."""
    try:
        yield
    except BadFile:
        shutil.rmtree(work)
        raise


@contextmanager
def _locked(work: Path, folder: Path) -> Iterator[None]:
    """Keep other processes out; the lock goes with its holder, however that ends."""
    with (work / "lock").open("w") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadOptions(f"another process imports into {folder}; wait for it") from None
        yield


def _publish(result: Path, folder: Path) -> None:
    """Put the finished folder into its place, at once."""
    if folder.is_dir():
        folder.rmdir()  # empty, as was made sure
    result.rename(folder)
