"""The report of an evaluation: one HTML file with its plots embedded, and a JSON file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ..errors import LDSegError
from ..utils.atomic import atomic_write, make_writable
from .results import results
from .section import Section
from .sections import sections
from .study import Study


def make_folder(folder: Path) -> None:
    """Make the report's folder, before the evaluation starts. Raises LDSegError if it is not writable."""
    try:
        make_writable(folder)
    except OSError as error:
        raise LDSegError(
            f"The report's folder {folder} could not be made or written: {error.strerror or error}."
        ) from error


def write_report(study: Study, folder: Path, source: str, available: int) -> dict[str, Any]:
    """Write report.json and report.html into ``folder`` and return the content of the JSON.

    For the other parameters see ``results``. Raises LDSegError if the folder cannot be written.
    """
    content = results(study, source, available)
    page = render(content, sections(study, content))
    try:
        for name, text in (
            ("report.json", json.dumps(content, indent=1, allow_nan=False)),
            ("report.html", page),
        ):
            with atomic_write(folder / name, ".part") as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LDSegError(
            f"The report could not be written to {folder}: {error.strerror or error}."
        ) from error
    return content


def render(content: dict[str, Any], parts: list[Section]) -> str:
    """Return the report's HTML page."""
    environment = Environment(
        loader=PackageLoader("napari_ldseg.evaluation", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = lambda data: base64.b64encode(data).decode("ascii")
    return environment.get_template("report.html").render(results=content, sections=parts)
