"""The side of the server that needs MONAI Label: its app, tasks, datastore and endpoints."""

import sys
from types import ModuleType

import pydicom.uid

# MONAI Label imports pydicom-seg, which imports this module of pydicom 2; nothing of it is used here.
if "pydicom._storage_sopclass_uids" not in sys.modules:
    _uids = ModuleType("pydicom._storage_sopclass_uids")
    _uids.SegmentationStorage = pydicom.uid.SegmentationStorage  # type: ignore[attr-defined]
    sys.modules[_uids.__name__] = _uids
