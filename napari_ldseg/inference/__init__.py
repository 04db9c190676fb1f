"""From an image with its geometry to the posterior of its segmentations."""
