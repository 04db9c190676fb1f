"""The one training loop, its data and its validation. Knows no Qt and no napari."""
