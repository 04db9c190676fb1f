"""A label array under record."""

import numpy as np
import pytest

from napari_ldseg.project.case import Masks
from napari_ldseg.project.recorder import Recorder
from napari_ldseg.scans.scan import Scan


@pytest.fixture
def record(project):
    """Factory: record an array in a new case; returns array, recorder and the reported problems."""
    recorders = []

    def make(array, classes):
        masks = Masks.untouched(array.copy())
        scan = Scan(np.random.default_rng(0).random(array.shape).astype(np.float32), name="scan")
        problems = []
        recorder = Recorder(
            "scan",
            array,
            masks,
            scan,
            lambda: project.add_case("scan", scan, None, classes, masks),
            problems.append,
        )
        recorders.append(recorder)
        return array, recorder, problems

    yield make
    for recorder in recorders:
        recorder.close(5)
