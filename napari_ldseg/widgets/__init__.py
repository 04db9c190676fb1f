"""The docked widget: Qt and napari. Everything it computes, other rooms compute."""
