"""napari readers, writers and sample data. Knows no widgets."""
