"""The one exception whose message is meant for the person at the screen."""


class LDSegError(Exception):
    """One clear sentence: what file or layer, what is wrong, and what to do about it."""
