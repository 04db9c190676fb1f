"""The training loop, its data, its validation, and runs in a folder. Free of Qt and napari."""
