"""The department server: every model as a task of MONAI Label, for 3D Slicer, OHIF and other clients; no Qt, no napari."""
