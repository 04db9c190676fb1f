"""Figures on cases kept out of training. Knows no Qt and no napari."""
