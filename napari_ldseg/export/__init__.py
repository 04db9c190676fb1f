"""Results in other formats: labels and maps on the image's own grid, and the report of a case."""
