"""Reads that fail for a reason that may pass are tried again: which, how often, how many."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

TRIES = 6  # of a read, the first included
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds; each wait is up to twice as long as the one before
_HTTP = (408, 425, 429)  # as all from 500 on: the server may answer later
_ERRNOS = {
    getattr(errno, name)
    for name in (
        *("EIO", "EAGAIN", "EINTR", "EBUSY", "ESTALE", "EREMOTEIO", "EPIPE", "ETIMEDOUT"),
        *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "ENETDOWN", "ENETRESET", "ENETUNREACH"),
        *("EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
}
_CLIENTS = ("aiohttp", "botocore", "google", "requests", "urllib3")  # whose errors are no OSErrors
_NAMES = (
    *("ClientConnectionError", "ClientPayloadError", "HTTPClientError", "IncompleteReadError"),
    *("ConnectionError", "TransportError", "ProtocolError", "ChunkedEncodingError", "TimeoutError"),
)
T = TypeVar("T")


class Count:
    """How many reads were tried again; any thread may add to it."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self.total += 1


_count: ContextVar[Count | None] = ContextVar("dkmeans retries", default=None)
_random = random.Random()  # so that workers that failed together do not come back together


@contextmanager
def counting() -> Iterator[Count]:
    """Count what is tried again in the body, and in whatever runs in a copy of its context."""
    count = Count()
    token = _count.set(count)
    try:
        yield count
    finally:
        _count.reset(token)


def patiently(work: Callable[..., T], *args: Any, **options: Any) -> T:
    """What ``work`` returns, tried again after a wait while it fails for a reason that may pass."""
    tried = 0
    while True:
        try:
            return work(*args, **options)
        except Exception as error:
            tried += 1
            time.sleep(_wait(error, tried))


async def patiently_async(work: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
    """The same for what is awaited."""
    tried = 0
    while True:
        try:
            return await work(*args, **options)
        except Exception as error:
            tried += 1
            await asyncio.sleep(_wait(error, tried))


def _wait(error: Exception, tried: int) -> float:
    """Seconds until the next try, which is counted; raises the error where there is none."""
    if tried == TRIES or not may_pass(error):
        raise error
    count = _count.get()
    if count is not None:
        count.add()
    return _random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**tried))


def may_pass(error: BaseException | None) -> bool:
    """Whether the same may succeed later: not where something is missing, denied or damaged."""
    if error is None:
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = _status(error)
    if status is not None:
        return status in _HTTP or status >= 500
    if any(
        kind.__name__ in _NAMES and kind.__module__.split(".")[0] in _CLIENTS
        for kind in type(error).__mro__
    ):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _ERRNOS
    return not isinstance(error, OSError) and may_pass(error.__cause__)


def _status(error: Any) -> int | None:
    """HTTP status that an error of aiohttp, botocore or gcsfs tells, if it does."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status", None) or getattr(error, "code", None)
    return found if isinstance(found, int) and 100 <= found < 600 else None
