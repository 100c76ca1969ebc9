"""How functions are compiled: without what they do not need, since that is compiled as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding  # type: ignore[import-untyped]
from numba import cfunc, types

_BARE: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
    "_nrt": False,  # arrays are those of the caller: none is allocated, and none counted
}
ENTRY: dict[str, Any] = {**_BARE, "cache": True}  # called from Python
INNER: dict[str, Any] = {**_BARE, "no_cpython_wrapper": True}  # called by compiled functions alone
EITHER: dict[str, Any] = _BARE  # called from both, and not worth a file
ALLOCATES: dict[str, Any] = {"_nrt": True}
_SHARED_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
_SHARED = list[Any]()  # as long as there are functions that call them


def shared(signature: Any, **options: Any) -> Callable[[Any], Any]:
    """Compile a function of numbers and pointers once, for callers that go to its address.

    Numba links other functions to each of their callers, and compiles them again with these. What
    a shared one calls must be defined before it, since it is compiled at once.
    """

    def compiled(function: Any) -> Any:
        native = cfunc(signature, **_SHARED_OPTIONS, **options)(function)
        _SHARED.append(native)
        name = f"{function.__module__}.{function.__name__}"
        binding.add_symbol(name, native.address)
        return types.ExternalFunction(name, signature)

    return compiled
