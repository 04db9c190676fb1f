"""MONAI Label's server for ``monailabel start_server --uvicorn_app``: beside pydicom 3, and its endpoints in threads."""

from .endpoints import run_in_threads

run_in_threads()

from monailabel.app import app  # noqa: E402

__all__ = ["app"]
