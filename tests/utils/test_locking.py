"""The lock of a folder: who holds it, who does not, and files that others have put in its place."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from napari_ldseg.errors import LDSegError
from napari_ldseg.utils.locking import LOCK, OWNER, FolderLock, exclusive_lock, held

HOLDER = """
import sys, time
from pathlib import Path
from napari_ldseg.utils.locking import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(params=["locks", "cannot lock"])
def file_system(request, monkeypatch):
    """A file system as usual, and one that cannot lock."""
    if request.param == "locks":
        return
    real = fcntl.flock

    def flock(handle, how):
        if os.readlink(f"/proc/self/fd/{handle}").endswith(f"/{LOCK}"):
            raise OSError(errno.ENOSYS, "Function not implemented")
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_excludes_others_and_leaves_nothing(tmp_path, file_system):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not held(tmp_path) and first.acquire()
    assert held(tmp_path) and not second.acquire()
    assert second.owner()[0] == os.getpid()
    second.release()
    assert held(tmp_path)
    first.release()
    assert not held(tmp_path) and list(tmp_path.iterdir()) == []
    assert second.acquire()
    second.release()


def test_another_process_is_named_and_a_killed_one_is_not_waited_for(
    holder, tmp_path, monkeypatch, assert_sentence
):
    folder = tmp_path / "run"
    monkeypatch.setattr("napari_ldseg.utils.locking.PATIENCE_SECONDS", 0.3)
    with pytest.raises(LDSegError) as error, exclusive_lock(folder):
        pass
    assert_sentence(error, "Another run", f"process {holder.pid}", str(folder))
    os.kill(holder.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while held(folder):  # Nobody has waited for the process: it is a zombie.
        assert time.monotonic() < end
    with exclusive_lock(folder):
        assert FolderLock(folder).owner()[0] == os.getpid()


@pytest.mark.parametrize(
    "content",
    ["", "[" * 999, "9" * 999, "null", "\0", '{"pid": "1", "host": "h"}', '{"pid": 1, "host": []}'],
)
def test_a_strange_owner_is_none(tmp_path, content):
    (tmp_path / OWNER).write_text(content)
    assert FolderLock(tmp_path).owner() is None


def test_the_owner_s_name_is_plain_text(tmp_path):
    owner = {"pid": 1, "host": "other\x1b[31m<b>x" + "y" * 500}
    (tmp_path / OWNER).write_text(json.dumps(owner))
    assert FolderLock(tmp_path).owner() == (1, ("other31mbx" + "y" * 500)[:100])


@pytest.mark.parametrize("name", [LOCK, OWNER])
def test_links_are_not_followed(tmp_path, name):
    folder, mine = tmp_path / "run", tmp_path / "thesis.txt"
    folder.mkdir()
    for target in (mine, tmp_path / "missing"):
        mine.write_text("ten years of work")
        (folder / name).symlink_to(target)
        lock = FolderLock(folder)
        assert not held(folder) and lock.owner() is None
        try:
            assert lock.acquire() and name == OWNER
        except LDSegError as error:
            assert name == LOCK and "delete it" in str(error)
        lock.release()
        assert mine.read_text() == "ten years of work"
        assert not (tmp_path / "missing").exists()
        (folder / name).unlink(missing_ok=True)


def test_a_file_of_the_user_s_own_is_not_removed(tmp_path, file_system):
    (tmp_path / LOCK).write_text("mine")
    with exclusive_lock(tmp_path):
        assert held(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_lock_that_another_has_taken_in_a_moved_folder_s_place_stays(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    first, second = FolderLock(folder), FolderLock(folder)
    assert first.acquire()
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    assert second.acquire()
    first.release()
    assert held(folder) and (folder / OWNER).exists()
    second.release()
    assert list(folder.iterdir()) == []
