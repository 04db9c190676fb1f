"""ZIP archives of DICOM files, unpacked under names of our own into a private folder until the program ends."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

from ...errors import LDSegError
from ...utils.text import reason_of
from ...utils.unzip import checked_members, copy_blocks
from .header import MAGIC, MAGIC_AT

MAX_MEMBERS = 20_000
MAX_BYTES = 16 * 2**30
_folders: list[Path] = []


def unpacked(path: Path) -> Path:
    """Return a folder with the DICOM files of the archive ``path``, called as it and numbered; their own names are not used.

    Raises
    ------
    LDSegError
        If it is damaged, encrypted, holds too many or too large files, or no DICOM file.
    """
    try:
        status = path.stat()
        return _unpacked(path, status.st_mtime_ns, status.st_size)
    except LDSegError:
        raise
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        ValueError,
    ) as error:
        reason = (
            "it is not a complete zip file"
            if type(error) is zipfile.BadZipFile
            else reason_of(error)
        )
        raise LDSegError(f"{path.name} cannot be unpacked: {reason}.") from error


def remove_unpacked() -> None:
    """Delete what was unpacked."""
    _unpacked.cache_clear()
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


@functools.lru_cache(maxsize=8)
def _unpacked(path: Path, time: int, size: int) -> Path:
    with zipfile.ZipFile(path) as archive:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        most = min(MAX_BYTES, free)
        members = checked_members(archive, path.name, MAX_MEMBERS, most, "unpack it yourself")
        if not _folders:
            atexit.register(remove_unpacked)
        folder = Path(tempfile.mkdtemp(prefix="napari-ldseg-"))  # for this user alone
        _folders.append(folder)
        try:
            found = 0
            for info in members:
                found += _copy(archive, info, folder / f"{path.stem[:60]}-{found:06d}.dcm")
            if not found:
                raise LDSegError(f"{path.name} holds no DICOM files; unpack it yourself.")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            _folders.remove(folder)
            raise
    return folder


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> bool:
    """Copy a member of at most the size that the archive gives it; return False if it is no DICOM file."""
    with archive.open(info) as file:
        head = file.read(MAGIC_AT + len(MAGIC))
        if head[MAGIC_AT:] != MAGIC:
            return False
        with target.open("xb") as output:
            output.write(head)
            copy_blocks(file, output, info.file_size - len(head))
    return True
