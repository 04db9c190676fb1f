"""What a reviewer needs to know of a result: where to look, sizes with intervals, differences."""
