"""The LDSeg networks, noise schedule, samplers and losses (arXiv 2407.12952); no files, no GUI."""
