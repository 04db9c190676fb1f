"""The command line ``napari-ldseg``, without Qt, napari or a display; --help does not import torch."""

from __future__ import annotations

import typer

from .commands.evaluate import evaluate
from .commands.import_keras import import_keras
from .commands.info import info
from .commands.segment import segment
from .commands.serve import serve
from .commands.train import train

app = typer.Typer(
    name="napari-ldseg",
    help="Latent diffusion segmentation (LDSeg) of medical images, with uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("segment")(segment)
app.command("info")(info)
app.command("import-keras")(import_keras)
app.command("serve", context_settings={"allow_extra_args": True})(serve)


if __name__ == "__main__":
    app()
