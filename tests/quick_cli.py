"""The command line as it is, but it measures a checkpoint's steps against 10 instead of 250.

It also waits for a locked folder for one second only.
"""

from napari_ldseg.cli import app
from napari_ldseg.evaluation import steps
from napari_ldseg.utils import locking

locking.PATIENCE_SECONDS = 1
steps.REFERENCE_STEPS, steps.CANDIDATE_STEPS = 10, (3, 5)

if __name__ == "__main__":
    app()
