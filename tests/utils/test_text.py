"""Short texts: one printable line, free names, durations."""

import os

import pytest

from napari_ldseg.utils.colours import class_colour
from napari_ldseg.utils.text import about, clock, free_name, one_line, reason_of


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


def test_a_taken_name_gets_the_first_free_number():
    assert free_name("scan", {"scan-2"}.__contains__) == "scan"
    assert free_name("scan", {"scan", "scan-2"}.__contains__) == "scan-3"
    assert free_name("{scan}", {"{scan}"}.__contains__, "{} ({})") == "{scan} (2)"


def test_every_class_has_a_colour_of_its_own():
    assert len({class_colour(value) for value in range(256)}) == 256
    assert class_colour(0) == "#000000" and class_colour(1) == "#e69f00"


@pytest.mark.parametrize(
    "seconds, shown",
    [(0, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (93_790, "26:03:10")],
)
def test_the_clock_counts_hours_beyond_a_day(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    "seconds, words", [(0, "1 s"), (43, "45 s"), (100, "2 min"), (3 * 3600, "3 h")]
)
def test_about_rounds_as_people_do(seconds, words):
    assert about(seconds) == f"about {words}"


def test_a_long_reason_ends_after_its_last_complete_part():
    reason = "The pixel data are shorter than expected (2058 vs 5412 bytes) - the dataset may be corrupted, have an"
    assert reason_of(f"{reason} invalid group 0028 pixel module.", 110).endswith("may be corrupted")
    assert reason_of("no such file?") == "no such file"
    assert reason_of("x" * 300) == "x" * 120
