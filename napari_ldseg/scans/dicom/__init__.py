"""DICOM: which files belong to one image, where its slices are, and its values."""
