"""Outputs that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any

from dkmeans.data.remote_outputs import check_remote_output, replacing_remotely
from dkmeans.errors import OutputError

_PATIENCE = 5.0  # seconds for tasks of a cluster that still write after an interrupt


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    folder: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> str:
    """Return the absolute path, or the URI, if an output can be written there, before any work.

    Parameters
    ----------
    folder : whether the output is a Zarr or Parquet folder, and may replace one; else it is a file.
    storage_options : options of the storage behind a URI.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or something is there already that may not be
        replaced.
    """
    text = os.fspath(path)
    if "://" in text:
        return check_remote_output(text, overwrite, folder, storage_options)
    target = os.path.abspath(text)
    parent = os.path.dirname(target)
    if not os.path.isdir(parent):
        raise OutputError(f"no such folder: {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to the folder {parent}: permission denied")
    if os.path.lexists(target):
        if not overwrite:
            raise OutputError(f"{target} exists already; overwrite (--overwrite) replaces it")
        if os.path.isdir(target) and not (folder and _replaceable(target)):
            raise OutputError(
                f"{target} is a folder, and not one that such an output may replace; remove it"
                " yourself"
            )
    return target


def _replaceable(folder: str) -> bool:
    """Whether a folder is what dkmeans writes: a Zarr array, Parquet files, or nothing."""
    names = os.listdir(folder)
    if "zarr.json" in names or ".zarray" in names:
        return True
    return all(name.endswith(".parquet") for name in names)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    folder: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Give a hidden path beside ``path`` to write a file or folder to; rename it at the end.

    Where the body fails or is interrupted, what it wrote is removed and ``path`` is as it was. For
    the URI of a folder a URI is given, for that of a file a path on disk.
    """
    text = os.fspath(path)
    if "://" in text:
        with replacing_remotely(text, overwrite, folder, storage_options) as partial:
            yield partial
        return
    target = check_output(path, overwrite, folder=folder)
    partial = _beside(target, "partial")
    try:
        yield partial
        check_output(target, overwrite, folder=folder)
        _swap(partial, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        _remove(partial)


@contextlib.contextmanager
def scratch(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a hidden path beside an output for what is needed until it is written."""
    hidden = _beside(os.path.abspath(os.fspath(path)), "scratch")
    try:
        yield hidden
    finally:
        _remove(hidden)


def _beside(target: str, what: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}.{what}")


def _swap(partial: str, target: str) -> None:
    """Rename, moving what is there out of the way first: a folder cannot be renamed onto."""
    if not os.path.isdir(partial) and not os.path.isdir(target):
        os.replace(partial, target)
        return
    if not os.path.lexists(target):
        os.rename(partial, target)
        return
    old = _beside(target, "old")
    os.rename(target, old)
    try:
        os.rename(partial, target)
    except BaseException:
        os.rename(old, target)
        raise
    _remove(old)


def _remove(path: str) -> None:
    """Remove a file or folder, also while a task of a cluster may still write to it."""
    end = time.monotonic() + _PATIENCE
    while os.path.lexists(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if time.monotonic() > end:
            return
        time.sleep(0.01 if os.path.lexists(path) else 0)
