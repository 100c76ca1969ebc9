"""Options that commands share, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dkmeans.cli.errors import Failure, deaf, hushed

if TYPE_CHECKING:
    from dkmeans import KMeans
    from dkmeans.data.source import Source

_ENDINGS = {"model": ".npz", "report": ".html"}
_NUMBERS = re.compile(r"(\d+)(?:\.\.(\d+)(?::(\d+))?)?")
_MOST_NUMBERS = 1000  # of clusters in one sweep
F = TypeVar("F", bound=Callable[..., Any])
Given = dict[str, Any]
_CONNECT_TIMEOUT = "10s"


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


storage_option = click.option(
    "--storage-option",
    metavar="KEY=VALUE",
    multiple=True,
    help="Option of the storage behind a URI, such as anon=true; may be repeated.",
)

input_options = _all(
    click.argument("input"),
    click.option("--columns", metavar="A,B", help="Columns to use, by name."),
    click.option("--component", metavar="PATH", help="Array inside a Zarr group."),
    storage_option,
)

k_option = click.option(
    "-k", "--n-clusters", type=click.IntRange(min=1), required=True, help="Clusters."
)

model_options = _all(
    click.option(
        "--init",
        type=click.Choice(["auto", "k-means||", "k-means++", "random"]),
        default="auto",
        show_default=True,
        help="How the first centers are chosen; auto searches a sample in memory.",
    ),
    click.option(
        "--n-init", type=click.IntRange(min=1), help="Restarts; 10 for random, else 1 by default."
    ),
    click.option(
        "--max-iter",
        type=click.IntRange(min=1),
        default=300,
        show_default=True,
        help="Most iterations of a restart.",
    ),
    click.option(
        "--algorithm",
        type=click.Choice(["auto", "lloyd", "elkan"]),
        default="auto",
        show_default=True,
        help="Several iterations a pass, or with lloyd one; the results are the same.",
    ),
    click.option(
        "--residency",
        type=click.Choice(["auto", "memory", "stream"]),
        default="auto",
        show_default=True,
        help="Keep the data in memory after the first read, or stream them.",
    ),
    click.option(
        "--dedupe",
        type=click.Choice(["auto", "never"]),
        default="auto",
        show_default=True,
        help="Cluster the distinct rows and their counts where these are few, or all rows.",
    ),
)

fit_options = _all(
    click.option(
        "--tol",
        type=click.FloatRange(min=0),
        default=1e-4,
        show_default=True,
        help="Stop when the squared shift is at most this share of the mean variance.",
    ),
    click.option(
        "--nan-policy",
        type=click.Choice(["raise", "omit"]),
        default="raise",
        show_default=True,
        help="Stop at NaN or infinity, or leave such rows out with the label -1.",
    ),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of all draws."),
    click.option(
        "--checkpoint",
        metavar="FOLDER",
        help="Keep the state here after each pass, and go on from what is here.",
    ),
    click.option("--fresh", is_flag=True, help="Start over, whatever the checkpoint has."),
)

memory_option = click.option(
    "--memory-limit", metavar="BYTES", help='Such as "1GiB"; by default what is available.'
)

cluster_options = _all(
    click.option(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler to use, as tcp://host:8786."
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Start so many worker processes instead."
    ),
    click.option("--tls-ca", metavar="FILE", help="Certificate authority of a tls:// scheduler."),
    click.option("--tls-cert", metavar="FILE", help="Certificate that it is shown, as PEM."),
    click.option("--tls-key", metavar="FILE", help="Private key of that certificate, as PEM."),
)

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2
    """Numbers of clusters: "2..12", "2..20:2" with a step, "2,4,8", or several of these."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """A sorted list of different positive integers."""
        found: set[int] = set()
        for part in str(value).split(","):
            match = _NUMBERS.fullmatch(part.strip())
            if match is None:
                self.fail(f"{part!r} is neither a number nor a range such as 2..12 or 2..20:2")
            first, step = int(match[1]), int(match[3] or 1)
            last = int(match[2] or first)
            if first < 1 or last < first or step < 1:
                self.fail(f"{part!r} must rise from at least 1, by at least 1")
            if (last - first) // step >= _MOST_NUMBERS:
                self.fail(f"{part!r} has more than {_MOST_NUMBERS:,} numbers")
            found.update(range(first, last + 1, step))
        return sorted(found)


def example(text: str) -> str:
    """Epilog of a command's help."""
    lines = "\n".join(f"  {line}" for line in text.strip().splitlines())
    return f"\b\nExample:\n{lines}"


def open_input(given: Given, columns: list[str] | None = None) -> Source:
    """The INPUT of a command, with its options; ``columns`` where the command line names none."""
    from dkmeans.data.sources import open_source

    if given["columns"] is not None:
        columns = [name.strip() for name in given["columns"].split(",")]
    return open_source(
        given["input"],
        columns=columns,
        component=given["component"],
        storage_options=storage_options(given),
    )


def storage_options(given: Given) -> dict[str, Any] | None:
    """The --storage-option of a command as a mapping."""
    return dict(_pair(text) for text in given.get("storage_option", ())) or None


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise Failure(f"--storage-option must be KEY=VALUE, got {text!r}")
    with contextlib.suppress(ValueError, RecursionError):
        return key, json.loads(value)
    return key, value


def make_model(given: Given) -> KMeans:
    """The estimator that the options describe."""
    from dkmeans import KMeans

    return KMeans(given["n_clusters"], **parameters(given))


def parameters(given: Given) -> dict[str, Any]:
    """The estimator's parameters that the options give, all but the number of clusters."""
    tol = given.get("tol")
    return {
        "init": given["init"],
        "n_init": given["n_init"] or "auto",
        "max_iter": given["max_iter"],
        "tol": 1e-4 if tol is None else tol,
        "algorithm": given["algorithm"],
        "random_state": given.get("seed"),
        "memory_limit": given["memory_limit"],
        "residency": given["residency"],
        "dedupe": given["dedupe"],
        "nan_policy": given.get("nan_policy", "raise"),
        "checkpoint": _checkpoint(given),
    }


def _checkpoint(given: Given) -> Any:
    """Where the options keep the state of the fit, if anywhere."""
    from dkmeans.checkpointing import Checkpoint

    where, fresh = given.get("checkpoint"), given.get("fresh", False)
    if where is None:
        if fresh:
            raise Failure("--fresh starts over what --checkpoint names; give that too")
        return None
    checkpoint = Checkpoint(where, fresh, storage_options=storage_options(given))
    if "://" in where:
        return checkpoint
    for name in ("input", "model", "models", "labels", "history", "report"):
        if given.get(name) is not None and "://" not in given[name]:
            refuse_overlap("checkpoint", where, given[name])
    return checkpoint


def check_outputs(given: Given, *names: str) -> dict[str, str]:
    """Absolute paths, or URIs, of the outputs that are asked for, all of which can be written."""
    from dkmeans.data.outputs import check_output
    from dkmeans.data.sinks import check_rows_output
    from dkmeans.errors import OutputError

    found: dict[str, str] = {}
    storage = storage_options(given)
    for name in names:
        if given[name] is None:
            continue
        check = check_rows_output if name == "labels" else check_output
        try:
            found[name] = check(given[name], given["overwrite"], storage_options=storage)
        except OutputError as error:
            raise OutputError(f"--{name}: {error}") from error
        target = _place(found[name])
        ending = _ENDINGS.get(name, "")
        if not target.endswith(ending):
            raise OutputError(f"--{name}: {found[name]} must end in {ending}")
        refuse_overlap(name, found[name], given["input"])
    if len(set(found.values())) < len(found):
        raise OutputError(f"two outputs have the same path, among {', '.join(found.values())}")
    return found


def refuse_overlap(name: str, path: str, given_input: str) -> None:
    """Raise an OutputError if an output is in the input or another one, or that in it."""
    from dkmeans.errors import OutputError

    target, source = _place(path), _place(given_input)
    if f"{target}/".startswith(f"{source}/") or f"{source}/".startswith(f"{target}/"):
        raise OutputError(f"--{name}: {path} and {source} overlap")


def _place(path: str) -> str:
    """A path without links, or a URI, so that the same place is always called the same."""
    return path.rstrip("/") if "://" in path else os.path.realpath(path)


@contextlib.contextmanager
def cluster(given: Given) -> Iterator[None]:
    """Work on the cluster that the options name, where they name one."""
    if given["scheduler"] and given["workers"]:
        raise Failure("--scheduler and --workers exclude each other")
    security = _security(given)
    # asyncio also tells of files on gs:// that pyarrow leaves to be collected
    with hushed("asyncio"), _cluster(given, security):
        yield


@contextlib.contextmanager
def _cluster(given: Given, security: Any) -> Iterator[None]:
    if given["scheduler"]:
        with hushed("distributed"), _connected(given["scheduler"], security):
            yield
    elif given["workers"]:
        with hushed("distributed"), _started(given["workers"]):
            yield
    else:
        yield


def _security(given: Given) -> Any:
    """What --tls-ca, --tls-cert and --tls-key give; None for a scheduler that needs none."""
    address, names = given["scheduler"] or "", ("tls_ca", "tls_cert", "tls_key")
    files = {name: given[name] for name in names if given[name] is not None}
    if not address.startswith("tls://"):
        if files:
            raise Failure("--tls-ca, --tls-cert and --tls-key go with --scheduler tls://...")
        return None
    if len(files) < len(names):
        raise Failure(f"{address} needs --tls-ca, --tls-cert and --tls-key")
    for name, file in files.items():
        if not os.path.isfile(file):
            raise Failure(f"--{name.replace('_', '-')}: no such file: {file}")
    from distributed.security import Security

    return Security(
        tls_ca_file=files["tls_ca"],
        tls_client_cert=files["tls_cert"],
        tls_client_key=files["tls_key"],
        require_encryption=True,
    )


@contextlib.contextmanager
def _connected(address: str, security: Any) -> Iterator[None]:
    from distributed import Client

    try:
        asyncio.run(_greeted(address, security))
        client = Client(address, timeout=_CONNECT_TIMEOUT, security=security)
    except (OSError, ValueError, TypeError, MemoryError) as error:
        asked = "is it up, and is this its port, not the dashboard's?"
        why = str(error) or f"no answer in {_CONNECT_TIMEOUT}; {asked}"
        raise Failure(f"cannot connect to the scheduler {address}: {why}") from error
    with client:
        yield


async def _greeted(address: str, security: Any) -> None:
    """Raise an error where no scheduler answers.

    A client would wait without end for a server that is none, and one that fails may stay dask's.
    """
    from dask.utils import parse_timedelta
    from distributed.core import rpc
    from distributed.security import Security

    arguments = (security or Security()).get_connection_args("client")
    async with (
        asyncio.timeout(parse_timedelta(_CONNECT_TIMEOUT)),
        rpc(address, connection_args=arguments) as server,
    ):
        kind = (await server.identity())["type"]
    if kind != "Scheduler":
        raise ValueError(f"it is a {kind}")


@contextlib.contextmanager
def _started(workers: int) -> Iterator[None]:
    import logging

    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    from dkmeans.data import old_spans
    from dkmeans.data.cluster import OWN_WORKERS

    with contextlib.ExitStack() as stack:
        with deaf(), dask.config.set(OWN_WORKERS):  # a Ctrl-C is for this process, which stops them
            local = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=max(1, CPU_COUNT // workers),
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,  # what a task raises is told in one line
                )
            )
        old_spans.dask_setup(local.scheduler)
        stack.enter_context(Client(local))
        yield
