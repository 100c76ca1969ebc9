"""How functions are compiled: without what they do not need, since that is compiled as well."""

from __future__ import annotations

from typing import Any

_BARE: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
    "_nrt": False,  # arrays are those of the caller: none is allocated, and none counted
}
ENTRY: dict[str, Any] = {**_BARE, "cache": True}  # called from Python
INNER: dict[str, Any] = {**_BARE, "no_cpython_wrapper": True}  # called by compiled functions alone
ALLOCATES: dict[str, Any] = {"_nrt": True}
