"""Warnings are hidden while a block runs, and only then, whichever thread leaves it first."""

import warnings
from threading import Event, Thread

import pytest

from napari_ldseg.utils.quiet import hidden_warnings


def test_threads_that_overlap_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    inside, leave = [Event(), Event()], [Event(), Event()]

    def block(number):
        with hidden_warnings():
            inside[number].set()
            leave[number].wait(10)
            warnings.warn("odd header", UserWarning, stacklevel=1)

    threads = [Thread(target=block, args=(number,)) for number in (0, 1)]
    for number, thread in enumerate(threads):
        thread.start()
        assert inside[number].wait(10)
    for number, thread in enumerate(threads):  # the first one leaves first
        leave[number].set()
        thread.join(10)
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="odd header"):
        warnings.warn("odd header", UserWarning, stacklevel=1)
