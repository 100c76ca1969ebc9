"""Outputs on object storage: whole or not at all, as far as storage without renames allows.

A file is written on disk and put there in one piece. A folder is written under a hidden name beside
its place, and its objects are then copied there by the storage, the one that says that it is whole
last: ``zarr.json`` of Zarr, and ``_SUCCESS`` of a folder of Parquet files.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dkmeans.data.retries import patiently
from dkmeans.errors import MissingExtraError, OutputError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
SUCCESS = "_SUCCESS"  # as Spark and its kin call it
_MARKS = ("zarr.json", ".zarray", SUCCESS)
_READ_ONLY = ("http", "https")


@dataclass(frozen=True)
class Place:
    """Where an output goes: a file system of fsspec, and the path in it."""

    uri: str
    system: Any
    path: str

    @classmethod
    def of(cls, uri: str, storage_options: dict[str, Any] | None) -> Place:
        """The place that a URI names.

        Raises
        ------
        OutputError, MissingExtraError
            If such storage cannot be written, or needs a package.
        """
        import fsspec

        scheme = uri.partition("://")[0]
        if scheme in _READ_ONLY:
            raise OutputError(f"{scheme}:// can only be read, and {uri} is to be written")
        try:
            system, path = fsspec.core.url_to_fs(uri, **(storage_options or {}))
        except ImportError as error:
            if scheme not in EXTRAS:
                raise OutputError(f"cannot write {uri}: {error}") from error
            raise MissingExtraError(f"writing {uri}", EXTRAS[scheme]) from error
        except Exception as error:
            raise OutputError(f"cannot write {uri}: {error}") from error
        return cls(uri.rstrip("/"), system, path.rstrip("/"))

    def beside(self, what: str) -> tuple[str, str]:
        """A hidden path beside this one, and its URI."""
        name = self.path.rpartition("/")[2]
        hidden = f".{name}.{uuid.uuid4().hex[:8]}.{what}"
        cut = len(name)
        return self.path[:-cut] + hidden, self.uri[:-cut] + hidden

    def check_free(self, overwrite: bool, folder: bool) -> None:
        """Raise an OutputError where something is that may not be replaced."""
        self.system.invalidate_cache()
        if not patiently(self.system.exists, self.path):
            return
        if not overwrite:
            raise OutputError(f"{self.uri} exists already; overwrite (--overwrite) replaces it")
        if patiently(self.system.isdir, self.path) and not (folder and self._replaceable()):
            raise OutputError(
                f"{self.uri} is a folder, and not one that such an output may replace; remove it"
                " yourself"
            )

    def _replaceable(self) -> bool:
        found = patiently(self.system.ls, self.path, detail=False)
        names = [path.rstrip("/").rpartition("/")[2] for path in found]
        if "zarr.json" in names or ".zarray" in names:
            return True
        return all(name.endswith(".parquet") or name == SUCCESS for name in names)

    def probe(self) -> None:
        """Write and remove an object, so that a fit of hours does not end where nothing can be."""
        path, _ = self.beside("probe")
        patiently(self.system.pipe_file, path, b"dkmeans")
        patiently(self.system.rm_file, path)

    def publish(self, stage: str) -> None:
        """Copy what is under ``stage`` here, in place of what is here, and remove the stage."""
        self.system.invalidate_cache()
        found = patiently(self.system.find, stage)
        names = [path[len(stage) :] for path in found]
        names.sort(key=lambda name: (name.rpartition("/")[2] in _MARKS, name))
        self.remove(self.path)
        data = [name for name in names if name.rpartition("/")[2] not in _MARKS]
        for some in (data, names[len(data) :]):
            if some:
                sources, targets = [stage + n for n in some], [self.path + n for n in some]
                patiently(self.system.copy, sources, targets)
        self.remove(stage)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder of which nothing can be read from the first step on."""
        self.system.invalidate_cache()
        for mark in _MARKS:
            with contextlib.suppress(FileNotFoundError):
                patiently(self.system.rm_file, f"{path}/{mark}")
        with contextlib.suppress(FileNotFoundError):
            patiently(self.system.rm, path, recursive=True)


def check_remote_output(
    uri: str, overwrite: bool, folder: bool, storage_options: dict[str, Any] | None
) -> str:
    """What ``check_output`` does for a URI."""
    place = Place.of(uri, storage_options)
    with _told(place.uri):
        place.check_free(overwrite, folder)
        place.probe()
    return place.uri


@contextlib.contextmanager
def replacing_remotely(
    uri: str, overwrite: bool, folder: bool, storage_options: dict[str, Any] | None
) -> Iterator[str]:
    """What ``replacing`` does for a URI: a file is written on disk, a folder beside its place."""
    place = Place.of(uri, storage_options)
    with _told(place.uri):
        place.check_free(overwrite, folder)
    if not folder:
        with tempfile.TemporaryDirectory(prefix="dkmeans-") as local:
            partial = os.path.join(local, place.path.rpartition("/")[2])
            yield partial
            with _told(place.uri):
                place.check_free(overwrite, folder)
                patiently(place.system.put_file, partial, place.path)
        return
    stage, stage_uri = place.beside("partial")
    try:
        yield stage_uri
        with _told(place.uri):
            place.check_free(overwrite, folder)
            place.publish(stage)
    finally:
        with contextlib.suppress(OSError):
            place.remove(stage)


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turn what storage raises into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except Exception as error:  # storage has errors of its own, of any kind
        raise OutputError(f"cannot write {uri}: {type(error).__name__}: {error}") from error
