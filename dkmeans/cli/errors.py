"""Errors, warnings and interrupts as one line on stderr, with an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from dkmeans.errors import DkmeansError

_SOON = 0.05  # seconds
_LONGEST = 2000  # characters of a message, which may quote names of any length


def printable(text: str) -> str:
    r"""The text with all that is no visible character or space as an escape such as ``\x1b``.

    Names in files may hold sequences that command a terminal, or marks that turn text around.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Failure(click.ClickException):
    """A mistake of the user, told in one line."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message[:_LONGEST].split())))


class Fault(Failure):
    """A mistake of the program."""

    exit_code = 1


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turn whatever the body raises into one line; with DKMEANS_DEBUG=1, show the traceback."""
    debug = os.environ.get("DKMEANS_DEBUG", "") not in ("", "0")
    signals = _Signals()
    try:
        with signals.raised(), _warnings(), _told(debug):
            yield
    except BaseException as error:
        if not (signals.number or isinstance(error, KeyboardInterrupt)):
            raise
        click.echo("Interrupted; no output is half-written", err=True)
        raise click.exceptions.Exit(128 + (signals.number or signal.SIGINT)) from error


@contextlib.contextmanager
def _told(debug: bool) -> Iterator[None]:
    """Turn an error that the body raises into one line."""
    try:
        yield
    except (click.exceptions.Exit, click.Abort, Failure, BrokenPipeError):
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "dkmeans"
        hint = f" (see {command} --help)"
        raise Failure(error.format_message().rstrip(".") + hint) from error
    except click.ClickException:
        raise
    except (DkmeansError, ValueError, OSError) as error:
        if debug:
            raise
        raise Failure(str(error) or type(error).__name__) from error
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {error}"
        raise Fault(f"unexpected {what} (DKMEANS_DEBUG=1 shows where it arose)") from error


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    """Show warnings that are for users as one line each; hide those for developers."""

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        click.echo(printable(f"Warning: {' '.join(str(message).split())}"), err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.simplefilter("default", RuntimeWarning)
        warnings.showwarning = show
        yield


class _Signals:
    """Ctrl-C and SIGTERM as a KeyboardInterrupt, so that half-written outputs go.

    Attributes
    ----------
    number : of the signal that came; 0 for none. What is raised may end up as another exception:
        libraries that are interrupted while they are imported say that they cannot be.
    """

    def __init__(self) -> None:
        self.number = 0
        self._hook = sys.unraisablehook

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Raise them in the body, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [
            n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN
        ]
        before = {number: signal.signal(number, self._stop) for number in heard}
        sys.unraisablehook = self._again
        try:
            yield
        finally:
            sys.unraisablehook = self._hook
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        error = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, KeyboardInterrupt):  # what is cleaned up now is cleaned up whole
                return
            error = error.__context__
        self.number = number
        raise KeyboardInterrupt

    def _again(self, unraisable: Any) -> None:
        """Where an interrupt was raised in a destructor or a callback of C, and lost."""
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            threading.Timer(_SOON, _signal_main, [self.number or signal.SIGINT]).start()
        else:
            self._hook(unraisable)


def _signal_main(number: int) -> None:
    """Send the main thread a signal, which wakes it where the system can do that."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Put off Ctrl-C in the body to its end; processes that are started in it never hear it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        with _blocked():
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came.is_set():
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Keep Ctrl-C from this thread, and from threads and processes that are started in the body."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # which lets signals through to whatever is started after it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def hushed(name: str) -> Iterator[None]:
    """Keep a logger quiet; an interrupt ends tasks in mid-air, which asyncio logs as tracebacks."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
