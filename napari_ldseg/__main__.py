"""The program ``napari-ldseg``, also as ``python -m napari_ldseg``."""

from .utils.signals import quit_on_signals


def main() -> None:
    """Run the command line; it listens to signals before it imports anything that takes time."""
    quit_on_signals()
    from .cli import app

    app()


if __name__ == "__main__":
    main()
