"""Helpers for every room: atomic writes, locks, hashes, names, colours, durations."""
