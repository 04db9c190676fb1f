"""Images with their labels, found in folders and split by patient. Knows no torch, Qt or napari."""
