"""The program ``napari-ldseg`` that sends itself a signal: python tests/signalled.py SIGNAL MOMENT ARGUMENTS...

MOMENT is the name of a module (when its import begins), ``write:PART`` (a file with PART in its name is complete,
but does not have its name yet), or ``later:SECONDS`` (after the import of torch, or from now on if that is done).
"""

import os
import signal
import sys
import threading
from importlib.abc import MetaPathFinder


class SendAt(MetaPathFinder):
    """Sends the signal when a module is imported."""

    def __init__(self, module, send):
        self.module, self.send = module, send

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            sys.meta_path.remove(self)
            self.send()


def main(arguments):
    number, moment = getattr(signal, arguments[0]), arguments[1]
    sys.argv = ["napari-ldseg", *arguments[2:]]

    def send():
        os.kill(os.getpid(), number)

    if moment.startswith("write:"):
        from napari_ldseg.utils import atomic

        part, sent = moment.removeprefix("write:"), []

        def write(path):
            if part in path.name and not sent:
                sent.append(path)
                send()

        atomic._to_disk = write
    elif moment.startswith("later:"):
        timer = threading.Timer(float(moment.removeprefix("later:")), send)
        timer.daemon = True
        if "torch" in sys.modules:
            timer.start()
        else:
            sys.meta_path.insert(0, SendAt("torch", timer.start))
    else:
        sys.meta_path.insert(0, SendAt(moment, send))

    from napari_ldseg.__main__ import main

    main()


if __name__ == "__main__":
    main(sys.argv[1:])
