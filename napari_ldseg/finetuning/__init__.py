"""Retraining on a project's corrected cases, in a separate process, with a comparison before the new model is used."""
