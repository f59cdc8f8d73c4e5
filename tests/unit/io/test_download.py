"""Downloads from a server on this machine that breaks off, changes its mind or lies."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from matgen.errors import BadFile, UserError
from matgen.io.digests import REMEMBERED, folder_digest
from matgen.io.download import RemoteFile, download
from matgen.io.git_lfs import refuse_pointer
from matgen.io.web import Patience
from tests.local_server import Answer, Asked, Server, file_handler, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB, several reads
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


class Heard:
    """Remembers what an observer is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        assert (part, unit) == ("data.bin", "bytes")
        self.told.append((done, total))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(file_handler(CONTENT)) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(tries=3, sleep=waits.append)


def remote(server: Server, **known: str | int) -> RemoteFile:
    return RemoteFile(f"{server.url}/data.bin", "data.bin", **known)  # type: ignore[arg-type]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cut_once(content: bytes, after: int, **kwargs: str) -> object:
    """Answer as a file server whose first connection breaks off."""
    whole = file_handler(content, **kwargs)
    seen: list[Asked] = []

    def handle(asked: Asked) -> Answer:
        seen.append(asked)
        answer = whole(asked)
        if len(seen) == 1:
            answer.cut_after = after
        return answer

    return handle


def test_a_file_arrives_with_its_bytes_and_nothing_else_is_left(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.bin", "fetched.json"]


def test_the_observer_hears_bytes_that_grow_to_the_total(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    heard = Heard()
    download(remote(server), tmp_path, observer=heard, patience=patience)
    assert heard.told == sorted(heard.told)
    assert heard.told[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_is_whole_is_not_asked_for_again(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    for _ in range(2):
        download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert len(server.asked) == 1


def test_a_file_that_was_damaged_later_is_downloaded_again(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    path.write_bytes(CONTENT[:1000])
    folder_digest(tmp_path, [path])  # which remembers the damaged digest
    download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert path.read_bytes() == CONTENT


def test_after_a_cut_connection_only_the_rest_is_asked_for(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    server.handler = cut_once(CONTENT, 300_000)  # type: ignore[assignment]
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert path.read_bytes() == CONTENT
    asked = server.asked[1].headers
    assert int(asked["Range"].removeprefix("bytes=").rstrip("-")) > 200_000
    assert asked["If-Range"] == '"one"'


def test_a_part_of_an_earlier_process_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.handler = cut_once(CONTENT, 300_000)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"cut the connection .*run the same command again"):
        download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    kept = (tmp_path / "data.bin.part").stat().st_size
    path = download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    assert server.asked[1].headers["Range"] == f"bytes={kept}-"
    assert path.read_bytes() == CONTENT


def test_a_part_of_another_version_of_the_file_is_started_again(
    server: Server, tmp_path: Path
) -> None:
    server.handler = cut_once(CONTENT, 300_000)  # type: ignore[assignment]
    with pytest.raises(UserError):
        download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    changed = CONTENT[::-1]
    server.handler = file_handler(changed, etag='"two"')
    path = download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    assert path.read_bytes() == changed


def test_a_part_without_a_version_is_never_trusted(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    # A weak ETag promises the same meaning, not the same bytes.
    server.handler = cut_once(CONTENT, 300_000, etag='W/"one"')  # type: ignore[assignment]
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert "Range" not in server.asked[1].headers
    assert path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_still_gives_the_right_file(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    answers = iter([300_000, -1])
    server.handler = lambda _: Answer(CONTENT, 200, {"ETag": '"one"'}, next(answers))
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_finished_without_a_byte(
    server: Server, tmp_path: Path
) -> None:
    server.handler = cut_once(CONTENT, 300_000)  # type: ignore[assignment]
    with pytest.raises(UserError):
        download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    path = download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    assert path.read_bytes() == CONTENT


def test_a_failing_server_is_asked_again_ever_later(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    answers = iter([Answer(status=500), Answer(status=503), Answer(CONTENT)])
    server.handler = lambda _: next(answers)
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert path.read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


def test_a_server_that_keeps_failing_is_left_alone_after_the_tries(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    server.handler = lambda _: Answer(status=502)
    with pytest.raises(UserError, match=r"answered 502 .*\(3 tries\)"):
        download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert len(server.asked) == 3


def test_a_line_that_keeps_breaking_but_gets_further_is_no_failure_in_a_row(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    whole = file_handler(CONTENT)

    def handle(asked: Asked) -> Answer:
        answer = whole(asked)
        answer.cut_after = 262_144 if len(answer.body) > 262_144 else -1
        return answer

    server.handler = handle
    path = download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) > 3


def test_a_server_that_says_when_to_come_back_is_heard(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    answers = iter([Answer(status=429, headers={"Retry-After": "17"}), Answer(CONTENT)])
    server.handler = lambda _: next(answers)
    download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert waits == [17.0]


def test_a_file_that_is_gone_is_not_asked_for_twice(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    server.handler = lambda _: Answer(status=404)
    with pytest.raises(UserError, match=r"status 404.*put it at .*data\.bin"):
        download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert len(server.asked) == 1


def test_without_a_network_one_sentence_says_so(tmp_path: Path, patience: Patience) -> None:
    with serving() as gone:
        pass
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ cannot be reached .*check the network"):
        download(remote(gone), tmp_path, observer=Heard(), patience=patience)


def test_a_wrong_checksum_names_both_digests_and_leaves_no_file(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    wanted = digest(b"other")
    with pytest.raises(BadFile) as caught:
        download(remote(server, sha256=wanted), tmp_path, observer=Heard(), patience=patience)
    assert wanted in str(caught.value)
    assert digest(CONTENT) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_than_published_is_refused(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    with pytest.raises(BadFile, match=f"has {len(CONTENT)} bytes, expected 7"):
        download(remote(server, n_bytes=7), tmp_path, observer=Heard(), patience=patience)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_the_published_checksum_is_kept_whoever_put_it_there(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    (tmp_path / "data.bin").write_bytes(CONTENT)
    wanted = digest(CONTENT)
    download(remote(server, sha256=wanted), tmp_path, observer=Heard(), patience=patience)
    assert server.asked == []


def test_a_git_lfs_pointer_is_not_taken_for_the_file(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    server.handler = lambda _: Answer(POINTER, 200, {"Content-Type": "text/plain"})
    with pytest.raises(BadFile, match="git lfs pull"):
        download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert not (tmp_path / "data.bin").exists()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "application/octet-stream"),
        (b"please sign in", "text/html; charset=utf-8"),
    ],
)
def test_a_web_page_is_not_taken_for_the_file(
    server: Server, tmp_path: Path, patience: Patience, body: bytes, kind: str
) -> None:
    server.handler = lambda _: Answer(body, 200, {"Content-Type": kind})
    with pytest.raises(BadFile, match="a web page and not the file"):
        download(remote(server), tmp_path, observer=Heard(), patience=patience)
    assert not (tmp_path / "data.bin").exists()


def test_a_refusal_after_a_good_part_does_not_lose_the_part(server: Server, tmp_path: Path) -> None:
    server.handler = cut_once(CONTENT, 300_000)  # type: ignore[assignment]
    with pytest.raises(UserError):
        download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    kept = (tmp_path / "data.bin.part").stat().st_size
    server.handler = lambda _: Answer(status=403)
    with pytest.raises(UserError, match="refuses"):
        download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    assert (tmp_path / "data.bin.part").stat().st_size == kept > 0


def test_a_disk_without_room_is_noticed_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 1000))
    with pytest.raises(UserError, match=f"1000 bytes free .*needs {len(CONTENT)}"):
        download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))


def test_a_disk_that_fills_up_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    class Full(Heard):
        def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
            if done > 500_000:
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"is full after \d+ bytes .*goes on where"):
        download(remote(server), tmp_path, observer=Full(), patience=Patience(tries=1))
    assert (tmp_path / "data.bin.part").stat().st_size > 500_000


def test_an_interrupted_download_keeps_what_arrived_and_goes_on(
    server: Server, tmp_path: Path
) -> None:
    class Impatient(Heard):
        def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
            if done > 500_000:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote(server), tmp_path, observer=Impatient(), patience=Patience(tries=1))
    kept = (tmp_path / "data.bin.part").stat().st_size
    path = download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))
    assert server.asked[1].headers["Range"] == f"bytes={kept}-"
    assert path.read_bytes() == CONTENT


def test_two_processes_do_not_write_one_part(server: Server, tmp_path: Path) -> None:
    class Second(Heard):
        def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
            with pytest.raises(UserError, match="another process is downloading"):
                download(remote(server), tmp_path, observer=Heard(), patience=Patience(tries=1))

    download(remote(server), tmp_path, observer=Second(), patience=Patience(tries=1))


def test_a_local_git_lfs_pointer_is_refused_by_its_readers(tmp_path: Path) -> None:
    pointer = tmp_path / "pos.npy"
    pointer.write_bytes(POINTER)
    with pytest.raises(BadFile, match=r"git lfs pull --include pos\.npy"):
        refuse_pointer(pointer)
    pointer.write_bytes(CONTENT)
    refuse_pointer(pointer)


def test_the_digest_of_a_folder_depends_on_contents_and_not_on_the_place(tmp_path: Path) -> None:
    digests = set()
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "a").write_bytes(CONTENT)
        digests.add(folder_digest(folder, [folder / "a"]))
    assert len(digests) == 1
    (folder / "a").write_bytes(CONTENT[:-1] + b"x")
    assert folder_digest(folder, [folder / "a"]) not in digests


def test_a_remembered_digest_is_used_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    first = folder_digest(tmp_path, [tmp_path / "a"])
    monkeypatch.setattr("matgen.io.digests.sha256_of", lambda path: "0" * 64)
    assert folder_digest(tmp_path, [tmp_path / "a"]) == first
    (tmp_path / REMEMBERED).write_text("{")
    assert folder_digest(tmp_path, [tmp_path / "a"]) != first
