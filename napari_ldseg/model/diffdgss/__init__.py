"""DiffDGSSv2: features of a frozen image diffusion network, turned into a segmentation by a small interpreter."""
