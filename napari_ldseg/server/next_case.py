"""Which image of the datastore to label next: the one with the highest expected error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..errors import LDSegError
from .jobs import check_cancelled

SECONDS = 30.0  # for examining images within one request


class NextCase(NamedTuple):
    """The image to label next, and of how many unlabelled images the expected error is known."""

    name: str
    expected_error: float | None
    known: int
    unlabelled: int


def next_case(
    unlabelled: Sequence[str],
    known: Mapping[str, float],
    examine: Callable[[str], float],
    seconds: float = SECONDS,
) -> NextCase | None:
    """Return the unlabelled image with the highest expected error; None if all are labelled.

    Images without a known one are examined for some seconds, at least one, so that the next requests know more. Those that cannot be segmented come last.

    Parameters
    ----------
    unlabelled
        Names of the images.
    known
        Expected errors, 0 to 1, from earlier requests.
    examine
        Returns the expected error of an image, and raises LDSegError if the model cannot segment it.
    seconds
        How long to examine images.
    """
    errors = {name: known[name] for name in unlabelled if name in known}
    failed: set[str] = set()
    end = time.monotonic() + seconds
    for name in sorted(set(unlabelled) - set(errors)):
        check_cancelled()
        try:
            errors[name] = examine(name)
        except LDSegError:
            failed.add(name)
        if time.monotonic() > end:
            break
    if not unlabelled:
        return None
    if not errors:
        return NextCase(min(unlabelled), None, 0, len(unlabelled))
    name = max(sorted(errors), key=lambda n: errors[n])
    return NextCase(name, errors[name], len(errors), len(unlabelled))
