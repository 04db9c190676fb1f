"""The keys of the Review tab, in one place: bound from here, shown on the buttons and in the list of keys."""

from __future__ import annotations

KEYS = {
    "next": (".", "Go to the next region"),
    "previous": (",", "Go to the previous region"),
    "accept": ("Y", "What is shown is right here: take it, mark the region as reviewed and go on"),
    "correct": ("C", "Take the brush with the other class in doubt; once more changes the class"),
    "border": ("A", "Draw along the true edge of the class; both sides of the line follow"),
    "skip": ("J", "Leave the region for later and go on"),
    "next_sample": ("Alt+Right", "Show the next alternative"),
    "previous_sample": ("Alt+Left", "Show the previous alternative, before the first the labels"),
    "use_sample": ("Shift+U", "Take what is shown into the labels, here or everywhere, and stay"),
    "hint": ("Q", "Scribble where you know the class"),
    "update": ("U", "Show what the corrections change in the rest; once more applies it"),
    "reject": ("Alt+U", "Drop the update that is shown"),
    "outline": ("O", "Show the labels filled, as outlines, or not at all"),
    "map": ("W", "Show the next map over the image: uncertainty, a probability, none"),
}


def key_of(action: str) -> str:
    """Return the key of ``action``."""
    return KEYS[action][0]


def tip(action: str) -> str:
    """Return what ``action`` does, and its key."""
    key, text = KEYS[action]
    return f"{text}. Key: {key}"


def key_table() -> str:
    """Return all keys with what they do, as rich text."""
    rows = (
        f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>" for key, text in KEYS.values()
    )
    return f"<table>{''.join(rows)}</table>"
