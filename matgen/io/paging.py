"""Answers that come in pages, collected into one file of JSON lines; interrupted, it goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgen.atomic import read_json, write_json
from matgen.errors import BadFile

if TYPE_CHECKING:
    from matgen.roles.dataset import FetchObserver


@dataclass(frozen=True)
class Page:
    """One answer.

    Attributes:
        entries: JSON objects.
        following: What to ask for next: a URL, a number as text; empty after the last page.
        total: Entries of all pages; None where the server does not say.
    """

    entries: Sequence[Mapping[str, Any]]
    following: str
    total: int | None = None


def collect(
    path: Path,
    query: Mapping[str, Any],
    first: str,
    turn: Callable[[str], Page],
    *,
    observer: FetchObserver,
) -> Path:
    """Return the file with the entries of every page, one JSON object a line.

    A file that is there with the same query is kept. Until it is whole it is ``NAME.part``, with a
    note beside it of the last page that is wholly in it.

    Args:
        query: JSON; another query starts again.
        first: What to ask ``turn`` for first.
        turn: Returns the page that a text asks for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_name(f"{path.name}.json")
    part = path.with_name(f"{path.name}.part")
    state = _state(note, query)
    n_entries = int(state.get("n_entries", 0))
    if state.get("finished") and path.exists():
        observer.on_progress(path.name, n_entries, n_entries, "entries")
        return path
    asked, n_bytes = str(state.get("following", first)), int(state.get("n_bytes", 0))
    if state.get("finished") or not part.exists() or part.stat().st_size < n_bytes:
        asked, n_bytes, n_entries = first, 0, 0
    with part.open("ab") as file:
        file.truncate(n_bytes)
        while asked:
            page = turn(asked)
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in page.entries)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
            n_bytes += len(lines.encode())
            n_entries += len(page.entries)
            if page.following == asked:
                raise BadFile(f"the server answers {asked} with that same page as the next")
            asked = page.following
            saved = {"following": asked, "n_bytes": n_bytes, "n_entries": n_entries}
            write_json(note, {"format": 1, "query": dict(query), **saved, "finished": False})
            observer.on_progress(path.name, n_entries, page.total, "entries")
    part.replace(path)
    write_json(note, {"format": 1, "query": dict(query), "n_entries": n_entries, "finished": True})
    return path


def collected(path: Path, *, damaged: Callable[[str], BadFile]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a file that ``collect`` wrote; values are whatever the server gave.

    Args:
        damaged: Makes the error to raise from what is wrong.

    Raises:
        BadFile: a line is no JSON object, or the file is cut short.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
            except ValueError:
                raise damaged(f"line {number} is no JSON") from None
            if not isinstance(entry, dict) or not line.endswith(b"\n"):
                raise damaged(f"line {number} is no whole JSON object")
            yield entry


def _state(note: Path, query: Mapping[str, Any]) -> dict[str, Any]:  # JSON values
    """Return the note of an earlier call for the same query; empty where there is none."""
    try:
        saved = read_json(note)
    except BadFile:
        return {}
    same = saved.get("format") == 1 and saved.get("query") == json.loads(json.dumps(dict(query)))
    return dict(saved) if same else {}
