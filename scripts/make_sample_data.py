"""Write the synthetic sample scans and their labels to sample_data/ as NIfTI.

Run from any folder: ``python scripts/make_sample_data.py``. The bytes depend only on the seeds.
"""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from phantoms import echo_phantom, mri_phantom

ROOT = Path(__file__).resolve().parents[1]
# The training uses seeds below 10_000, so no bundled model was trained on these cases.
ECHO_SEED = 10_009
MRI_SEED = 10_001


def write_nifti(path, array, affine):
    """Write a (y, x) or (z, y, x) array with the affine of its (z, y, x) indices as gzipped NIfTI."""
    volume = array if array.ndim == 3 else array[np.newaxis]
    image = nib.Nifti1Image(np.ascontiguousarray(volume.T), affine[:, [2, 1, 0, 3]])
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    # With an empty name and a zero time stamp the gzip header is always the same.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write(image.to_bytes())


def main():
    folder = ROOT / "sample_data"
    folder.mkdir(exist_ok=True)
    for name, phantom in (("echo", echo_phantom(ECHO_SEED)), ("mri", mri_phantom(MRI_SEED))):
        write_nifti(folder / f"{name}_phantom.nii.gz", phantom.image, phantom.affine)
        write_nifti(folder / f"{name}_phantom_label.nii.gz", phantom.label, phantom.affine)


if __name__ == "__main__":
    main()
