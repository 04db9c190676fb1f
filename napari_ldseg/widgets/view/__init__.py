"""The View tab: images as they are read on a workstation."""
