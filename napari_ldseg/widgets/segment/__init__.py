"""The Segment tab: sampling in a worker thread, and the layers of the result."""
