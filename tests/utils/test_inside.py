"""Names and links that would lead out of a folder."""

import os

import pytest

from napari_ldseg.errors import LDSegError
from napari_ldseg.utils.inside import inside, refuse_links_out


@pytest.mark.parametrize("name", ["a", "a/b", "a/../b", "missing/later"])
def test_names_inside_are_joined(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/../../b", "/etc/passwd", "", ".", "link/x", "link"]
)
def test_names_outside_are_refused(tmp_path, name, assert_sentence):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(LDSegError) as error:
        inside(folder, name)
    assert_sentence(error, "outside", str(folder))


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_impossible_names_are_refused(tmp_path, name, assert_sentence):
    with pytest.raises(LDSegError) as error:
        inside(tmp_path, name)
    assert_sentence(error, str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused(tmp_path, assert_sentence):
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(LDSegError) as error:
            inside(tmp_path, name)
        assert_sentence(error, name, "neither a file nor a folder")


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a") == tmp_path / "link" / "a"


def test_a_link_deep_in_a_folder_is_found(tmp_path, assert_sentence):
    (tmp_path / "run" / "a").mkdir(parents=True)
    (tmp_path / "run" / "b").symlink_to(tmp_path / "run" / "a")
    refuse_links_out(tmp_path / "run")
    (tmp_path / "run" / "a" / "log.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LDSegError) as error:
        refuse_links_out(tmp_path / "run")
    assert_sentence(error, "a/log.csv", "outside")
