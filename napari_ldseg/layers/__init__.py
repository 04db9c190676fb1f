"""napari's reader, writer and sample data, and the geometry of layers; imports no widget."""
