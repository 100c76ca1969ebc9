"""Errors, warnings and interrupts as one line on stderr, with an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from dkmeans.errors import DkmeansError

_INTERRUPTED, _TERMINATED = 130, 143
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


class _Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C so that half-written outputs go."""


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turn whatever the body raises into one line; with DKMEANS_DEBUG=1, show the traceback."""
    debug = os.environ.get("DKMEANS_DEBUG", "") not in ("", "0")
    try:
        with _warnings(), _sigterm():
            yield
    except (click.exceptions.Exit, click.Abort, Failure, BrokenPipeError):
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "dkmeans"
        hint = f" (see {command} --help)"
        raise Failure(error.format_message().rstrip(".") + hint) from error
    except click.ClickException:
        raise
    except KeyboardInterrupt as error:
        click.echo("Interrupted; no output is half-written", err=True)
        status = _TERMINATED if isinstance(error, _Terminated) else _INTERRUPTED
        raise click.exceptions.Exit(status) from error
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


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Ignore Ctrl-C in the body; processes that are started in it go on doing so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
