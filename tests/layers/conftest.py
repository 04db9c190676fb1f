"""A real napari window, as the tests of the widgets use it."""

from ..widgets.conftest import (  # noqa: F401
    private_settings,
    short_collections,
    still_welcome,
    viewer,
)
