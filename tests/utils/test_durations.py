"""Times as the progress lines say them."""

import pytest

from napari_ldseg.utils.durations import about, clock


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
