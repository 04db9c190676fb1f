"""Checkpoints: one file with the weights and everything needed to use them."""
