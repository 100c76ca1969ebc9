"""Programs on a terminal."""

import fcntl
import os
import struct
import subprocess
import sys
import termios


def shown(*args, columns, **options):
    """What the command line, which ends well, writes to a terminal as its standard error."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dkmeans", *args],
        env={**environment, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=slave,
        **options,
    )
    os.close(slave)
    drawn = b""
    try:
        while piece := os.read(master, 4096):
            drawn += piece
    except OSError:  # the end of a terminal
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    return drawn.decode()
