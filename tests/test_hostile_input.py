"""Files that someone made to harm: they claim, unpack to, point to or call themselves too much."""

import bz2
import gzip
import json
import lzma
import pickle
import struct
import zipfile
import zlib

import numcodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from dkmeans import DataError, FormatError, KMeans, MemoryLimitError, SourceError
from dkmeans.cli import cli
from dkmeans.cli.errors import printable
from dkmeans.data.label_file import open_labels
from dkmeans.data.sources import open_source
from dkmeans.data.zarr_guard import check_decoded
from dkmeans.image import quantize

X = np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture
def store(tmp_path):
    """A Zarr store, and what writes other metadata into it."""
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=X, chunks=(10, 3))
    return path


def rewrite(store, **changes):
    path = store / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def claim(store, shape, chunks):
    grid = {"name": "regular", "configuration": {"chunk_shape": list(chunks)}}
    rewrite(store, shape=list(shape), chunk_grid=grid)


@pytest.mark.parametrize(
    ("shape", "chunks", "error", "says"),
    [
        ((10**18, 3), (10**6, 3), DataError, r"1,000,000,000,000,000,000 rows; 17,179,869,184"),
        ((10**30, 3), (10**29, 3), DataError, "rows; 17,179,869,184"),
        ((2**34, 3), (1, 3), DataError, r"17,179,869,184 chunks of rows; 16,777,216 can be read"),
        ((2**34, 2**20), (2**34, 2**20), MemoryLimitError, r"needs .* PiB and memory_limit"),
        ((40, 3), (2**40, 3), MemoryLimitError, r"needs .* TiB and memory_limit"),
        ((40, 10**15), (10, 10**15), MemoryLimitError, "needs .* and memory_limit"),
        ((1,) * 20_000, (1,) * 20_000, DataError, "got 20000D array"),
        ((40, -3), (10, 3), SourceError, "cannot open"),
        ((40, 3), (0, 3), SourceError, r"cannot open|chunks of shape \(0, 3\)"),
        ((40, 3), (10, 0), SourceError, r"cannot open|chunks of shape \(10, 0\)"),
    ],
    ids=lambda v: None if isinstance(v, type | str) else str(v)[:30],
)
def test_claims_of_zarr(store, shape, chunks, error, says):
    claim(store, shape, chunks)
    with pytest.raises(error, match=says):
        KMeans(2, memory_limit="2 GiB").fit(store)


def test_metadata_that_are_nested_or_long(store):
    whole = (store / "zarr.json").read_text()
    for deep in ("[" * 200_000, '{"a":' * 200_000):
        (store / "zarr.json").write_text(whole[:-1] + ', "attributes": ' + deep)
        with pytest.raises(SourceError, match=r"cannot open .*(nested too deeply|JSON|double)"):
            open_source(store)
    with (store / "zarr.json").open("wb") as file:
        file.truncate(2**27)
    with pytest.raises(SourceError, match=r"zarr\.json has more than 67,108,864 bytes"):
        open_source(store)


V3 = {
    "zstd": (ZstdCodec(), lambda raw: numcodecs.Zstd().encode(raw)),
    "blosc": (BloscCodec(), lambda raw: numcodecs.Blosc().encode(np.frombuffer(raw, np.uint8))),
    "gzip": (GzipCodec(), gzip.compress),
}
V2 = {
    "zlib": (numcodecs.Zlib(), zlib.compress),
    "gzip": (numcodecs.GZip(), gzip.compress),
    "bz2": (numcodecs.BZ2(), bz2.compress),
    "lzma": (numcodecs.LZMA(), lzma.compress),
    "lz4": (numcodecs.LZ4(), lambda raw: numcodecs.LZ4().encode(raw)),
    "zstd": (numcodecs.Zstd(), lambda raw: numcodecs.Zstd().encode(raw)),
}
CASES = [*((3, name, *case) for name, case in V3.items())]
CASES += [(2, name, *case) for name, case in V2.items()]


@pytest.mark.parametrize(("version", "name", "codec", "encode"), CASES)
@pytest.mark.parametrize("sharded", [False, True])
def test_chunks_that_unpack_to_too_much(tmp_path, version, name, codec, encode, sharded):
    """A few kB that would be 50 MB, in the place of chunks of 240 bytes."""
    path, options = tmp_path / "x.zarr", {"compressors": codec, "zarr_format": version}
    bomb = encode(bytes(50 * 2**20))
    if sharded and version == 2:
        return  # format 2 has none
    if sharded:
        zarr.create_array(path, data=X, chunks=(10, 3), shards=(40, 3), **options)
        index = struct.pack("<8Q", *([0, len(bomb)] * 4))
        checksum = struct.pack("<I", numcodecs.checksum32.CRC32C.checksum(index))
        (path / "c" / "0" / "0").write_bytes(bomb + index + checksum)
    else:
        zarr.create_array(path, data=X, chunks=(10, 3), **options)
        (path / ("c/1/0" if version == 3 else "1.0")).write_bytes(bomb)
    with pytest.raises(SourceError, match=r"decode to more than|has more than"):
        KMeans(2, residency="stream").fit(path)


def test_chunks_that_are_larger_than_they_can_be(store):
    with (store / "c" / "1" / "0").open("r+b") as file:
        file.truncate(2**30)  # of which the disk has next to nothing
    with pytest.raises(SourceError, match=r"chunk c/1/0 has more than 65,843 bytes"):
        KMeans(2, residency="stream").fit(store)


@pytest.mark.parametrize("codec", ["zlib", "gzip", "bz2", "lzma", "zstd"])
def test_decoded_bytes_are_counted(codec):
    if codec == "zstd":  # in a frame that does not tell its size
        stream = pa.BufferOutputStream()
        with pa.CompressedOutputStream(stream, "zstd") as file:
            file.write(bytes(10_000))
        encoded = stream.getvalue().to_pybytes()
    else:
        encoded = V2[codec][1](bytes(10_000))
    check_decoded(codec, encoded, 10_000)
    with pytest.raises(ValueError, match=f"its {codec} data decode to more than 9,999 bytes"):
        check_decoded(codec, encoded, 9_999)
    check_decoded("delta", encoded, 0)  # no decoder that fills memory


class Harm:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def pickled(path, shape=(4, 1), **metadata):
    """A Zarr array of format 2 whose chunks are pickles of another making."""
    path.mkdir()
    described = {"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "<f8", "order": "C"}
    described |= {"fill_value": 0, "compressor": None, "filters": [{"id": "pickle"}], **metadata}
    (path / ".zarray").write_text(json.dumps(described))
    (path / ".".join("0" * len(shape))).write_bytes(pickle.dumps(Harm()))
    return path


@pytest.mark.parametrize(
    "metadata",
    [{}, {"filters": None, "compressor": {"id": "pickle"}}, {"dtype": "|O"}],
    ids=["filter", "compressor", "objects"],
)
def test_no_chunk_is_unpickled(tmp_path, metadata):
    refused = (SourceError, DataError)
    says = r"pickles, which can run|Expected numbers|must be integers|cannot open"
    with pytest.raises(refused, match=says):
        KMeans(1).fit(pickled(tmp_path / "x.zarr", **metadata))
    with pytest.raises(refused, match=says):
        np.asarray(open_labels(tmp_path / "x.zarr"))
    with pytest.raises(refused, match=f"{says}|cannot read|numbers"):
        quantize(pickled(tmp_path / "image.zarr", (4, 4, 3), **metadata), 2)


@pytest.mark.parametrize(
    "component", ["../other.zarr", "a/../../other.zarr", "/etc", ".", "a//b", ""]
)
def test_components_do_not_climb_out(tmp_path, component):
    zarr.create_group(tmp_path / "g.zarr")
    zarr.create_array(tmp_path / "other.zarr", data=X)
    with pytest.raises(SourceError, match=r"component= must be a path below .*g\.zarr"):
        open_source(tmp_path / "g.zarr", component=component)


def test_members_of_an_archive_are_no_paths(tmp_path):
    """Nothing is unpacked to disk: a member is read by its key alone."""
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(10, 3))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in (tmp_path / "x.zarr").rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(tmp_path / "x.zarr").as_posix())
        archive.writestr("../escaped.txt", "out")
    source = open_source(f"zip://::file://{tmp_path}/x.zip")
    np.testing.assert_array_equal(source.blocks(40).array.compute(), X)
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_a_parquet_file_of_few_bytes_and_many_rows(tmp_path):
    """A dictionary of one value, repeated: what the rows would take is known before."""
    table = pa.table({"a": pa.array(np.zeros(3_000_000))})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=3_000_000)
    assert (tmp_path / "x.parquet").stat().st_size < 30_000
    with pytest.raises(MemoryLimitError, match=r"needs .* and memory_limit is 300.00 MiB"):
        KMeans(1, memory_limit="300 MiB").fit(tmp_path / "x.parquet")


HOSTILE = "a\x1b[2J\x1b]0;owned\x07\u202egnp.exe\n\rWarning: all is lost<script>"


def test_names_do_not_command_a_terminal(tmp_path, monkeypatch):
    names = [HOSTILE, "=cmd|'/c calc'!A1", "b"]
    frame = pd.DataFrame(X, columns=names)
    frame.to_parquet(tmp_path / "x.parquet")
    zarr.create_group(tmp_path / "g.zarr").create_array("\x1b[31mred", data=X)
    commands = [
        ["info", tmp_path / "x.parquet"],
        ["info", tmp_path / "g.zarr"],
        ["fit", tmp_path / "g.zarr", "-k", 2],
        ["fit", tmp_path / "x.parquet", "-k", 2, "--columns", "\x1b[2Jz"],
    ]
    for command in commands:
        result = CliRunner().invoke(cli, list(map(str, command)))
        text = (result.stdout + result.stderr).replace("\n", "")
        assert text.isprintable(), command
        assert "\\x1b[" in text
        assert result.stderr.count("\n") <= 1


def test_what_is_printable_stays():
    assert printable("Größe 点 = 3 €") == "Größe 点 = 3 €"
    assert printable(HOSTILE).startswith("a\\x1b[2J\\x1b]0;owned\\x07\\u202egnp.exe\\n\\r")


def test_names_do_not_command_a_page(tmp_path):
    frame = pd.DataFrame(X, columns=["<script>alert(1)</script>", "</style><b>", "b"])
    model = KMeans(2, random_state=0).fit(frame)
    model.report(tmp_path / "r.html", frame)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "</style><b>" not in page


def npz(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def npy(shape, dtype="<f8", data=b""):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "compression", "says"),
    [
        ([("head.npy", npy((10**18,)))], zipfile.ZIP_STORED, "has other than"),
        ([("head.npy", npy((2**62, 2**62)))], zipfile.ZIP_STORED, "has other than"),
        ([("head.npy", npy((-1,)))], zipfile.ZIP_STORED, r"shape \(-1,\)"),
        ([("head.npy", npy((2**27,), "|u1", bytes(2**27)))], zipfile.ZIP_DEFLATED, "is compressed"),
        ([("head.npy", npy((1,), "|O", b"12345678"))], zipfile.ZIP_STORED, "object"),
        ([("head.npy", npy((0,)))] * 2, zipfile.ZIP_STORED, "there twice"),
        ([("../../head.txt", b"out")], zipfile.ZIP_STORED, "is no array"),
        ([("head.npy", npy((), data=b"[" * 8))], zipfile.ZIP_STORED, "JSON|Expecting"),
        ([("head.npy", npy((10**6,), "|u1", b"[" * 10**6))], zipfile.ZIP_STORED, "recursion"),
    ],
    ids=["rows", "overflow", "negative", "bomb", "objects", "twice", "path", "short", "deep"],
)
def test_model_files_that_claim_too_much(tmp_path, entries, compression, says):
    npz(tmp_path / "m.npz", entries, compression)
    with pytest.raises(FormatError, match=rf"m\.npz is not a dkmeans model: .*({says})"):
        KMeans.load(tmp_path / "m.npz")
