"""Corrections of a label image: pure functions that return which voxels change, and to what."""
