"""Text of unknown origin on one printable line."""

import os

from napari_ldseg.utils.text import one_line


def test_white_space_becomes_single_spaces():
    assert one_line(" No space\n\tleft \u2028 on\xa0device \r\n") == "No space left on device"


def test_unprintable_characters_are_replaced():
    assert one_line("\x1b[31mred\x07\x00") == "?[31mred??"
    assert one_line("a\u202egnp.exe") == "a?gnp.exe"  # right-to-left override
    assert one_line(os.fsdecode(b"sch\xe4del.png")) == "sch?del.png"
    assert one_line("Schädel 头 черепа") == "Schädel 头 черепа"


def test_a_long_text_is_cut():
    assert one_line("x" * 200) == "x" * 200
    assert one_line("x" * 201) == "x" * 197 + "..."
    assert one_line("x y " * 9, 8) == "x y x..."


def test_any_object_is_accepted():
    assert one_line(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
