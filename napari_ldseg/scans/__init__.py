"""Files and geometry of scans: one reader for the window, the command line and the project."""
