"""Retraining on a project's corrected cases, in a process of its own, never silently worse."""
