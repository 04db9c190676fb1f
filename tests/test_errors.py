"""Messages for users: one printable line under 300 characters, whatever is in it."""

import numpy as np
import pytest

from napari_ldseg.datasets.description import Description
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.split import read_split
from napari_ldseg.errors import MOST_CHARACTERS, LDSegError, os_error_sentence, sentence


def test_a_short_message_stays_as_it_is():
    text = "scan.nii.gz is truncated; copy the file again."
    assert str(LDSegError(text)) == sentence(text) == text
    longest = "x " * 149 + "x"
    assert len(longest) == MOST_CHARACTERS and sentence(longest) == longest


def test_a_long_path_keeps_its_beginning_and_the_files_name():
    path = "/data/" + "folder/" * 60 + "scan.nii.gz"
    text = str(LDSegError(f"{path} cannot be read: no such file; locate the image again."))
    assert text.startswith("/data/folder") and "/scan.nii.gz cannot be read" in text
    assert text.endswith("locate the image again.") and len(text) <= MOST_CHARACTERS


def test_of_a_long_list_the_middle_is_left_out():
    names = ", ".join(f"class {i}" for i in range(500))
    text = str(LDSegError(f"scan.nii uses the classes {names}; name them under Edit classes."))
    assert len(text) <= MOST_CHARACTERS and text.startswith("scan.nii uses the classes class 0")
    assert text.endswith("class 499; name them under Edit classes.") and "…" in text


def test_a_message_is_one_printable_line():
    text = str(LDSegError("a\nb\x1b[2J\ud800.nii\u2028is\tdamaged."))
    assert text == "a b?[2J?.nii is damaged."
    assert str(LDSegError()) == ""
    error = OSError(36, "File name too long", "x" * 5000)
    assert len(os_error_sentence(error)) <= MOST_CHARACTERS
    assert os_error_sentence(error).endswith("File name too long.")


def test_messages_about_long_names_are_short(tmp_path):
    many = Description(labels={str(i): f"structure {i}" for i in range(256)})
    deep = tmp_path / ("f" * 200) / ("g" * 200) / ("h" * 200)
    for call in (
        lambda: many.dense(np.array([999]), "n" * 250),
        lambda: find_cases(DataSettings(folder=deep)),
        lambda: read_split(deep),
    ):
        with pytest.raises(LDSegError) as error:
            call()
        assert len(str(error.value)) <= MOST_CHARACTERS
