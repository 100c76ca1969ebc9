"""A folder of small files, each written once, whole and for good; on disk or on object storage."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from dkmeans.errors import CheckpointError

MOST_BYTES = 2**33  # of one file: more is not read, whatever it claims
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
Pieces = Sequence[bytes | memoryview]


class Folder(Protocol):
    """Files by name.

    ``where`` is the path or URI. All methods raise a CheckpointError that names what they could
    not read or write.
    """

    where: str

    def names(self) -> list[str]:
        """Names of what is there; none if there is no such folder."""

    def has(self, name: str) -> bool:
        """Whether a file is there."""

    def tidy(self) -> None:
        """Remove what was half-written when a process was killed."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""

    def write(self, name: str, pieces: Pieces) -> None:
        """Write a file that is not there yet; once this returns, it stays."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, in order."""


def open_folder(where: str | os.PathLike[str], storage_options: dict[str, Any] | None) -> Folder:
    """A folder on disk, or one that fsspec opens by its URI."""
    path = os.fspath(where)
    if "://" not in path:
        return LocalFolder(path)
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        system, root = fsspec.core.url_to_fs(path, **(storage_options or {}))
    except (ImportError, ValueError, OSError) as error:
        raise CheckpointError(f"cannot open the checkpoint {path}: {error}") from error
    return LocalFolder(root) if isinstance(system, LocalFileSystem) else RemoteFolder(system, root)


class LocalFolder:
    """A folder on disk: a file is written beside its place, synced, and then linked to it."""

    def __init__(self, path: str) -> None:
        self.where = os.path.abspath(path)

    def names(self) -> list[str]:
        """Names of what is there; see :class:`Folder`."""
        return [name for name in self._all() if not _half_written(name)]

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return os.path.lexists(os.path.join(self.where, name))

    def tidy(self) -> None:
        """Remove what was half-written when a process was killed."""
        self.remove([name for name in self._all() if _half_written(name)])

    def _all(self) -> list[str]:
        with _told("read", self.where):
            return os.listdir(self.where) if os.path.lexists(self.where) else []

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        path = os.path.join(self.where, name)
        with _told("read", path), open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            _check_size(path, size)
            return file.read(size)

    def write(self, name: str, pieces: Pieces) -> None:
        """Write a file that is not there yet."""
        target = os.path.join(self.where, name)
        partial = os.path.join(self.where, f".{name}.{uuid.uuid4().hex[:8]}.partial")
        with _told("write", target):
            _check_size(target, sum(map(len, pieces)))
            if not os.path.isdir(self.where):
                self._make()
            try:
                with open(partial, "xb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                _claim(partial, target)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(partial)
            _sync_folder(self.where)

    def _make(self) -> None:
        parent = os.path.dirname(self.where)
        if not os.path.isdir(parent):
            raise CheckpointError(
                f"cannot write the checkpoint {self.where}: no such folder: {parent}"
            )
        os.mkdir(self.where)
        _sync_folder(parent)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, in order."""
        for name in names:
            path = os.path.join(self.where, name)
            with _told("remove", path):
                os.unlink(path)
                _sync_folder(self.where)


class RemoteFolder:
    """A prefix on object storage, where a file that was put is whole and stays.

    Two that put the same name in the same moment are not told apart here, but by the checksums of
    the entries, each of which has that of the one before.
    """

    def __init__(self, system: Any, root: str) -> None:
        self._system, self._root = system, root.rstrip("/")
        self.where = system.unstrip_protocol(self._root)

    def names(self) -> list[str]:
        """Names of what is there."""
        with _told("read", self.where):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        inside = [path.rstrip("/") for path in found if path.strip("/") != self._root.strip("/")]
        return [path.rpartition("/")[2] for path in inside]

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        with _told("read", self.where):
            self._system.invalidate_cache()
            return bool(self._system.exists(f"{self._root}/{name}"))

    def tidy(self) -> None:
        """Nothing is ever half-written."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        path = f"{self._root}/{name}"
        with _told("read", path):
            _check_size(path, int(self._system.info(path)["size"]))
            return bytes(self._system.cat_file(path))

    def write(self, name: str, pieces: Pieces) -> None:
        """Write a file that is not there yet."""
        path = f"{self._root}/{name}"
        with _told("write", path):
            _check_size(path, sum(map(len, pieces)))
            self._system.invalidate_cache()
            if self._system.exists(path):  # not all storage can create a file only if it is new
                raise FileExistsError(path)
            self._system.pipe_file(path, b"".join(pieces))

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, in order."""
        for name in names:
            with _told("remove", f"{self._root}/{name}"):
                self._system.rm_file(f"{self._root}/{name}")


@contextlib.contextmanager
def _told(what: str, path: str) -> Iterator[None]:
    """Turn what storage raises into a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except FileExistsError as error:
        raise CheckpointError(
            f"{path} was written by someone else at the same time: only one fit can use a"
            " checkpoint. Give each its own path"
        ) from error
    except NotADirectoryError as error:
        raise CheckpointError(
            f"{path} is a file, and a checkpoint is a folder: give the path of one, or of a folder"
            " that is not there yet"
        ) from error
    except Exception as error:  # storage has errors of its own, of any kind
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"cannot {what} {path}: {reason}. What the checkpoint has stays; once this is mended,"
            " the same fit goes on from there"
        ) from error


def _half_written(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


def _check_size(path: str, size: int) -> None:
    if size > MOST_BYTES:
        raise CheckpointError(f"{path} has {size:,} bytes, more than a checkpoint's file can have")


def _claim(partial: str, target: str) -> None:
    """Give a file its name, unless another has it."""
    try:
        os.link(partial, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):  # the best that a disk without links allows
            raise FileExistsError(target) from error
        os.replace(partial, target)


def _sync_folder(path: str) -> None:
    if os.name == "nt":  # which cannot open folders
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
