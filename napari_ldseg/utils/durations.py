"""Durations as text."""


def about(seconds: float) -> str:
    """Return ``seconds`` roughly: about 40 s, about 3 min, about 2 h."""
    if seconds < 90:
        return f"about {max(1, seconds) if seconds < 20 else 5 * round(seconds / 5):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.0f} h"


def clock(seconds: float) -> str:
    """Return ``seconds`` as hours, minutes and seconds: 26:03:10."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
