"""The hook of MkDocs: fill what is generated into the pages, each of which is a Jinja template.

The functions that a page can call are in ``FUNCTIONS``. A call that fails stops the build.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from jinja2 import Environment, StrictUndefined, pass_context
from jinja2.runtime import Context
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import accuracy_tables  # noqa: E402
import model_cards  # noqa: E402
import retina_tables  # noqa: E402
import review_tables  # noqa: E402

from napari_ldseg.checkpoint.bundled import bundled_checkpoints  # noqa: E402
from napari_ldseg.checkpoint.header import read_metadata  # noqa: E402
from napari_ldseg.cli import app  # noqa: E402

ICON = "images/icon.png"
# Where a file of the repository stands in the site, if its name there is another.
PAGES = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
}
LINK = re.compile(r"(\[[^\]]*\])\(([^)\s#]+)(#[^)\s]*)?\)")


@pass_context
def include(context: Context, path: str, shift: int = 0) -> str:
    """Return a Markdown file of the repository with its headings ``shift`` levels lower.

    Links to the site's pages and images are made relative to the page; those to other files become text.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    here = posixpath.dirname(context["page"].file.src_uri)

    def linked(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if ":" in target:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        inside = PAGES.get(target, target.removeprefix("docs/"))
        if inside == target:
            return words[1:-1]
        return f"{words}({posixpath.relpath(inside, here or '.')}{anchor})"

    text = LINK.sub(linked, text)
    return re.sub(r"^#", "#" * (shift + 1), text, flags=re.MULTILINE) if shift else text


def cards() -> list[str]:
    """Return the paths of the bundled models' cards."""
    return [f"napari_ldseg/checkpoints/{name}.md" for name in bundled_checkpoints()]


def card_value(model: str, metric: str, class_name: str, samples: int) -> str:
    """Return a metric from a bundled checkpoint's own metadata, as its card shows it.

    Raises
    ------
    ValueError
        If it has none or several that fit.
    """
    (found,) = (
        m
        for m in read_metadata(bundled_checkpoints()[model]).metrics
        if (m.name, m.class_name, m.samples) == (metric, class_name, samples)
    )
    return f"{found.value:.3f}"


def command_help(command: str) -> str:
    """Return what ``napari-ldseg COMMAND --help`` prints."""
    result = CliRunner().invoke(
        app, [command, "--help"], prog_name="napari-ldseg", env={"COLUMNS": "88"}
    )
    return f"```text\n{result.output.strip()}\n```"


FUNCTIONS = {
    "include": include,
    "cards": cards,
    "card_value": card_value,
    "command_help": command_help,
    "models_table": model_cards.table,
    "tables": accuracy_tables.tables,
    "evaluated": accuracy_tables.evaluated,
    "lost_to_noise": accuracy_tables.lost_to_noise,
    "rivals_table": accuracy_tables.rivals_table,
    "probability_table": accuracy_tables.probability_table,
    "regions_table": review_tables.regions_table,
    "conditioning_table": review_tables.conditioning_table,
    "alternatives_table": review_tables.alternatives_table,
    "clicks_table": review_tables.clicks_table,
    "retina_table": retina_tables.retina_table,
    "retina_disc_table": retina_tables.retina_disc_table,
    "retina_models_table": retina_tables.retina_models_table,
    "retina_uncertainty_table": retina_tables.retina_uncertainty_table,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the plugin's icon."""
    files.append(File.generated(config, ICON, abs_src_path=str(ROOT / "napari_ldseg/icon.png")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with every call replaced by what it returns."""
    environment = Environment(
        undefined=StrictUndefined, autoescape=False, comment_start_string="{##"
    )
    environment.globals.update(FUNCTIONS)
    return environment.from_string(markdown).render(page=page)
