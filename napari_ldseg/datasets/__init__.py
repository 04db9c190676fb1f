"""Images with their labels, found in folders and split by patient. Free of torch, Qt and napari."""
