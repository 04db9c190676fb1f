"""Corrections of a label image: pure functions that say which voxels change, and to what."""
