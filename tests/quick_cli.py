"""The command line as it is, but it measures a checkpoint's steps against 20 instead of 250."""

from napari_ldseg.cli import app
from napari_ldseg.evaluation import steps

steps.REFERENCE_STEPS, steps.CANDIDATE_STEPS = 20, (3, 5, 10)

if __name__ == "__main__":
    app()
