"""From an image with its geometry to the posterior over its segmentations."""
