"""Whether an image can be of the kind that a checkpoint was trained on, from what its file says."""

import numpy as np
import pytest
from dicom_series import write_ct_series

from napari_ldseg.inference.region import Region, crop
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.files import read_scan


@pytest.mark.parametrize(("channel", "unlike"), [("T1 MRI", True), ("CT", False), ("any", False)])
def test_the_modality_of_a_dicom_series_counts(tiny_checkpoint, tmp_path, channel, unlike):
    values = np.random.default_rng(0).integers(0, 200, (12, 10, 6)).astype(np.int16)
    write_ct_series(tmp_path, values, np.diag([-1.0, -1.0, 2.0, 1]))
    checkpoint = tiny_checkpoint(3)
    metadata = checkpoint.metadata.model_copy(update={"channels": (channel,)})
    checkpoint = type(checkpoint)(metadata, checkpoint.model)
    scan = read_scan(tmp_path)
    for part in (scan, crop(scan, Region((1, 0, 0), scan.shape))):
        posterior = segment(checkpoint, part, 2)
        assert ("modality is CT" in (posterior.unlike or "")) == unlike
