"""Metrics on held-out cases, and their report; no Qt, no napari."""
