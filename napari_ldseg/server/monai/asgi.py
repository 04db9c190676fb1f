"""MONAI Label's server for ``monailabel start_server --uvicorn_app``, where it works beside pydicom 3."""

from monailabel.app import app

__all__ = ["app"]
