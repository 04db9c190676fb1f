"""Many images into one folder: resumable, shared out over processes. Knows no Qt and no napari."""
