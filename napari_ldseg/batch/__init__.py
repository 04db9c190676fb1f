"""Segmenting many images into one folder, resumable and distributed over processes; no Qt, no napari."""
