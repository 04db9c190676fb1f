"""A folder that is replaced as a whole: the new one, or the old one."""

import os
from pathlib import Path

import pytest

from napari_ldseg.utils.atomic import atomic_folder


def write(path, text):
    with atomic_folder(path) as folder:
        folder.mkdir()
        (folder / "file").write_text(text)


def test_a_folder_is_replaced_or_comes_back(tmp_path, monkeypatch):
    path = tmp_path / "image.zarr"
    write(path, "old")
    write(path, "new")
    assert (path / "file").read_text() == "new"
    replace, failed = os.replace, []

    def fails_once(source, target):
        if Path(target) == path and not failed:
            failed.append(source)
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(OSError, match="No space left"):
        write(path, "newer")
    assert (path / "file").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["image.zarr"]
