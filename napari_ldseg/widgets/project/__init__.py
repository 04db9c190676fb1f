"""The Project tab, and the state of the project that all tabs share."""
