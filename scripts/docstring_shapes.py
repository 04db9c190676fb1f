"""An extension of Griffe: in docstrings a star before a name, as in (*leading, *space), is a star."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

STAR = re.compile(r"(?<![\w`*\\])\*(?=\w)")


class DocstringShapes(Extension):
    """Keep shapes from being read as Markdown's emphasis."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Escape the stars of a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = STAR.sub(r"\\*", obj.docstring.value)
