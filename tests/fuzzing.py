"""What parsers of ours may do with any bytes: give a value, or one of the errors that say why not.

Hypothesis calls these with text and bytes of its own making (test_fuzz.py); with atheris installed
they are fuzzed by coverage, each until it has been called so many times:

    python tests/fuzzing.py --runs 100000 [parser ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import lzma
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HERE = "--here" in sys.argv  # in the process that fuzzes, modules are instrumented as they load
if HERE:
    import atheris
with atheris.instrument_imports(include=["dkmeans"]) if HERE else contextlib.nullcontext():
    from dkmeans.cli.errors import Failure, printable
    from dkmeans.cli.options import Numbers, storage_options
    from dkmeans.data.label_file import open_labels
    from dkmeans.data.sources import open_source
    from dkmeans.data.zarr_chunks import zstd_size
    from dkmeans.data.zarr_guard import check_decoded
    from dkmeans.engine.machine import memory_limit
    from dkmeans.errors import DkmeansError, FormatError
    from dkmeans.record.facts import Facts, without_secrets
    from dkmeans.record.history import History
    from dkmeans.record.model_file import read_model


def history(data: bytes) -> None:
    """A history, which then prints, and is written as it was read."""
    try:
        found = History.parse(data.decode("utf-8", "replace").splitlines(), "here")
    except FormatError:
        return
    assert str(found).replace("\n", "").isprintable()
    assert History.parse(found.dump(), "here") == found


def model(data: bytes) -> None:
    """A model file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.npz")
        Path(path).write_bytes(data)
        try:
            read_model(path, path)
        except FormatError:
            return


def facts(data: bytes) -> None:
    """The facts of a model file."""
    try:
        Facts.from_dict(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return


def zarr_metadata(data: bytes) -> None:
    """The metadata of a Zarr array, of either format, and of labels."""
    for name in ("zarr.json", ".zarray"):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_bytes(data)
            for reading in (open_source, open_labels):
                with contextlib.suppress(DkmeansError):
                    reading(folder)


def chunk(data: bytes) -> None:
    """The head of a chunk."""
    zstd_size(data[:18])
    for codec in ("zstd", "blosc", "lz4", "gzip", "bz2", "lzma"):
        with contextlib.suppress(ValueError, OSError, EOFError, lzma.LZMAError):
            check_decoded(codec, data, 2**16)


def size(data: bytes) -> None:
    """Bytes such as "1 GiB"."""
    try:
        found = memory_limit(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert found > 0


def numbers(data: bytes) -> None:
    """Numbers of clusters such as "2..12"."""
    try:
        found = Numbers().convert(data.decode("utf-8", "replace"), None, None)
    except click.BadParameter:
        return
    assert found == sorted(set(found))
    assert found[0] >= 1


def storage_option(data: bytes) -> None:
    """--storage-option KEY=VALUE."""
    text = data.decode("utf-8", "replace")
    try:
        found = storage_options({"storage_option": [text]})
    except Failure:
        return
    (key,) = found
    assert text.startswith(f"{key}=")


def uri(data: bytes) -> None:
    """A URI, of which the password goes."""
    text = data.decode("utf-8", "replace")
    assert "hunter2" not in without_secrets(f"s3://me:hunter2@host/{text}")


def name(data: bytes) -> None:
    """A name that is shown in a terminal."""
    assert printable(data.decode("utf-8", "replace")).isprintable()


PARSERS = {
    f.__name__: f
    for f in (
        *(history, model, facts, zarr_metadata, chunk, size, numbers, storage_option, uri, name),
    )
}


def seeds() -> dict[str, list[bytes]]:
    """Where fuzzing may begin: what the parsers are made for."""
    import numpy as np
    import zarr

    from dkmeans import KMeans

    with tempfile.TemporaryDirectory() as folder:
        fitted = KMeans(2, random_state=0, history_rows=3).fit(np.arange(12.0).reshape(6, 2))
        fitted.save(f"{folder}/m.npz")
        zarr.create_array(f"{folder}/3.zarr", data=np.ones((4, 2)), chunks=(2, 2))
        zarr.create_array(f"{folder}/s.zarr", data=np.ones((4, 2)), chunks=(1, 2), shards=(2, 2))
        zarr.create_array(f"{folder}/2.zarr", data=np.ones((4, 2)), zarr_format=2)
        stores = ("3.zarr/zarr.json", "s.zarr/zarr.json", "2.zarr/.zarray")
        return {
            "history": ["\n".join(fitted.history_.dump()).encode()],
            "model": [Path(f"{folder}/m.npz").read_bytes()],
            "facts": [json.dumps(fitted.history_.facts.to_dict()).encode()],
            "zarr_metadata": [Path(folder, store).read_bytes() for store in stores],
            "chunk": [Path(folder, "3.zarr/c/0/0").read_bytes()],
            "size": [b"1 GiB", b"1e6", b"300MB"],
            "numbers": [b"2..12", b"2..20:2", b"2,4,8"],
            "storage_option": [b"anon=true", b'client_kwargs={"region_name": "x"}'],
            "uri": [b"x.zarr?token=1", b":8080/a@b"],
            "name": [b"\x1b[2J"],
        }


def main() -> None:
    """Fuzz the parsers that are named, or all of them, each in a process of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("parsers", nargs="*", default=[], help=f"of {', '.join(PARSERS)}")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--here", action="store_true", help="fuzz one, in this process")
    args = parser.parse_args()
    if not args.here:
        for one in args.parsers or PARSERS:
            command = [sys.executable, __file__, one, "--here", f"--runs={args.runs}"]
            subprocess.run(command, check=True)
            print(f"{one}: {args.runs:,} runs, no crash")  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as corpus:
        for i, seed in enumerate(seeds()[args.parsers[0]]):
            Path(corpus, str(i)).write_bytes(seed)
        options = [f"-runs={args.runs}", "-rss_limit_mb=4096", "-timeout=60", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, corpus], PARSERS[args.parsers[0]])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
