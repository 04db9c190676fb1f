"""What ``monailabel start_server --app`` loads from this folder; MONAI Label finds the class by its base."""

from napari_ldseg.server.monai.app import LDSegApp

__all__ = ["LDSegApp"]
