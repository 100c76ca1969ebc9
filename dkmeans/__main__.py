"""``dkmeans`` and ``python -m dkmeans``: the command line as a process of its own."""

from __future__ import annotations

import atexit
import os
import signal
from types import FrameType
from typing import Any

_SIGNALLED = 128  # and the number of the signal is the status
_LINE = b"Interrupted; no output is half-written\n"


def main() -> Any:
    """Run the command line; Ctrl-C ends it in one line from here to the end of the process.

    While commands are loaded there is nothing to clean up, and an exception would be lost in some
    library that is being imported: the process ends at once. Commands have a handler of their own.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background
        return _run()
    signal.signal(signal.SIGINT, _end)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the interpreter is taken apart
    try:
        return _run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
        signal.signal(signal.SIGINT, lambda *_: os._exit(status))  # all has been said
        if status > _SIGNALLED:
            atexit._run_exitfuncs()
            os._exit(status)  # without a wait for threads that still read or compile
        raise


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, _LINE)
    os._exit(_SIGNALLED + number)


def _run() -> Any:
    from dkmeans.cli import cli

    return cli(prog_name="dkmeans")


if __name__ == "__main__":
    main()
