"""The Project tab, and the project's state that all tabs share."""
