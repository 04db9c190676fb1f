"""Image files and their geometry: one reader for napari, the command line and projects."""
