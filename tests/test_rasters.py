"""Rasters: nodata takes no part, and what is around the values comes back with the labels."""

import base64
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from land import (
    BANDS,
    HEIGHT,
    NODATA,
    TAKES_PART,
    WIDTH,
    WKT,
    K,
    check,
    geotiff,
    in_memory,
    pixels_of,
    placed,
    raster,
    rasterio,
    tifffile,
    values,
    xr,
)
from naive import assign, sq_to_own
from sklearn.cluster import KMeans as Reference
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler as ReferenceScaler

from dkmeans.cli import cli
from dkmeans.data.image_axes import Reordered, find_axes
from dkmeans.data.image_source import open_image
from dkmeans.data.nodata import blanked, taking_part
from dkmeans.errors import DataError
from dkmeans.image import quantize


@pytest.fixture(scope="module")
def found():
    """The raster in memory, in four kinds."""
    return in_memory()


@pytest.mark.parametrize("chunks", [None, {"band": 1, "y": 20, "x": 33}, {"y": 7}])
@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y", "x", "band"), ("y", "band", "x")])
def test_pixels_without_data_take_no_part(chunks, dims):
    image = raster().transpose(*dims)
    one = quantize(image if chunks is None else image.chunk(chunks), K, random_state=0)
    check(one, values())
    assert (one.image.dims, one.image.shape) == (image.dims, image.shape)
    painted = one.image.transpose("band", "y", "x").values
    assert (painted[:, ~TAKES_PART] == NODATA).all()
    np.testing.assert_array_equal(
        pixels_of(painted), one.palette[np.asarray(one.labels)[TAKES_PART]]
    )


def test_what_is_around_the_values_is_kept(found):
    labels, image = found.labels, raster()
    assert (labels.dims, labels.name, labels.dtype) == (("y", "x"), "labels", np.int8)
    assert labels.attrs == {"long_name": "toa", "_FillValue": -1}
    assert set(labels.coords) == {"y", "x", "height", "spatial_ref"}
    for name in labels.coords:
        xr.testing.assert_identical(labels.coords[name].variable, image.coords[name].variable)
    assert labels.encoding == found.image.encoding == {"grid_mapping": "spatial_ref"}
    assert labels.coords["spatial_ref"].attrs["crs_wkt"] == WKT
    xr.testing.assert_identical(found.image.coords.to_dataset(), image.coords.to_dataset())
    assert (found.image.attrs, found.image.name) == (image.attrs, image.name)
    xr.testing.assert_identical(pickle.loads(pickle.dumps(found)).labels, labels)


def test_lazy_in_lazy_out(computes, found):
    one = quantize(raster().chunk({"band": 3, "y": 20, "x": 30}), K, random_state=0)
    searched = computes.computes
    assert one.labels.chunks == ((20, 20, 10), (30, 30, 10))
    assert one.image.chunks == ((BANDS,), (20, 20, 10), (30, 30, 10))
    assert computes.computes == searched
    one.labels.compute()
    assert computes.computes == searched + 1
    assert isinstance(found.labels.data, np.ndarray)


def test_a_file_that_xarray_opened_is_read_in_chunks(tmp_path, found):
    stored = raster().chunk({"band": 4, "y": 25, "x": 35})
    stored.to_dataset().to_zarr(tmp_path / "r.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "r.zarr", consolidated=False, chunks=None)["reflectance"]
    one = quantize(opened, K, random_state=0)
    assert one.source.pixels.chunks == ((25, 25), (35, 35), (BANDS,))
    assert "_FillValue" not in opened.attrs  # xarray has made it NaN
    np.testing.assert_allclose(
        np.sort(one.centers, axis=0), np.sort(found.centers, axis=0), rtol=1e-6
    )
    np.testing.assert_array_equal(np.asarray(one.labels) == -1, ~TAKES_PART)
    by_path = quantize(tmp_path / "r.zarr" / "reflectance", K, random_state=0)
    assert by_path.source.nodata == NODATA  # as xarray writes it: in base64
    check(by_path, values())


class Counting:
    """An array that counts its reads."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.reads = []

    def __getitem__(self, key):
        self.reads.append(tuple((s.start, s.stop) for s in key))
        return self.array[key]


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_each_pass_reads_each_chunk_once(monkeypatch, dtype):
    monkeypatch.setattr("dkmeans.engine.memory._residency", lambda *_: "stream")
    counting = Counting(values(dtype))
    meta = np.empty((0, 0, 0), dtype)
    image = da.from_array(counting, chunks=(BANDS, 20, 30), asarray=False, meta=meta)
    n_chunks = 3 * 3
    for standardize in (False, True):
        counting.reads.clear()
        one = quantize(
            image, K, nodata=NODATA, channel_axis=0, standardize=standardize, random_state=0
        )
        assert len(set(counting.reads)) == n_chunks
        assert len(counting.reads) == one.passes * n_chunks
        counting.reads.clear()
        one.labels.compute()
        assert len(counting.reads) == n_chunks


def test_the_same_on_a_cluster(client, found):
    one = quantize(raster().chunk({"band": 3, "y": 20, "x": 30}), K, random_state=0)
    assert one.inertia == pytest.approx(found.inertia, rel=1e-9)
    xr.testing.assert_identical(one.labels.compute(), found.labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_bands_are_standardized_over_the_pixels_with_data(dtype):
    cube = values(dtype)
    cube[7] *= 50  # which would rule
    cube[7][~TAKES_PART] = NODATA
    image = da.from_array(cube, chunks=(BANDS, 20, 30))
    one = quantize(image, K, nodata=NODATA, channel_axis=0, standardize=True, random_state=0)
    pixels = pixels_of(cube).astype(np.float64)
    scaler = ReferenceScaler().fit(pixels)
    best = Reference(K, n_init=10, random_state=0).fit(scaler.transform(pixels))
    assert one.inertia == pytest.approx(best.inertia_, rel=1e-4)
    labels = np.asarray(one.labels)
    np.testing.assert_array_equal(labels == -1, ~TAKES_PART)
    labels = labels[TAKES_PART]
    np.testing.assert_array_equal(
        labels, assign(scaler.transform(pixels), scaler.transform(one.centers))
    )
    means = [pixels[labels == j].mean(axis=0) for j in range(K)]
    assert (np.abs(one.centers - means) <= 1e-6 * scaler.scale_).all()
    assert one.mse == pytest.approx(np.mean((one.palette[labels] - pixels) ** 2), rel=1e-6)


def test_bands_of_bytes_are_standardized_from_their_counts():
    random = np.random.default_rng(1)
    image = random.integers(0, [9, 60, 250], (30, 40, 3)).astype(np.uint8)
    one = quantize(image, 5, standardize=True, random_state=0)
    assert one.passes == 1
    pixels = image.reshape(-1, 3).astype(np.float64)
    scaler = ReferenceScaler().fit(pixels)
    labels = one.labels.reshape(-1)
    scaled, centers = scaler.transform(pixels), scaler.transform(one.centers)
    np.testing.assert_array_equal(labels, assign(scaled, centers))
    assert one.inertia == pytest.approx(sq_to_own(scaled, centers, labels).sum(), rel=1e-9)
    assert one.inertia <= Reference(5, n_init=10, random_state=0).fit(scaled).inertia_ * 1.001
    with pytest.raises(ValueError, match="standardize=True has its own space; got space='lab'"):
        quantize(image, 2, standardize=True, space="lab")


@pytest.mark.parametrize(
    "told",
    [
        {"_FillValue": NODATA},
        {"missing_value": np.float32(NODATA)},
        {"nodata": "-9999"},
        {"nodatavals": (NODATA,) * BANDS},
        {"_FillValue": base64.standard_b64encode(struct.pack("<d", NODATA)).decode()},
        {"_FillValue": None, "nodata": NODATA},
    ],
)
def test_attributes_tell_of_nodata(told, found):
    image = placed(values(), **told)
    one = quantize(image, K, random_state=0)
    np.testing.assert_array_equal(one.centers, found.centers)
    assert one.labels.attrs == {"long_name": "toa", "_FillValue": -1}


@pytest.mark.parametrize("told", [{"nodata": np.nan}, {"nodata": "nan"}, {"nodata": "none"}, {}])
def test_nan_is_nodata_whatever_else_is(told):
    cube = values()
    cube[cube == NODATA] = np.nan
    one = quantize(placed(cube, **told), K, random_state=0)
    check(one, cube)
    assert np.isnan(one.image.values[:, ~TAKES_PART]).all()


def test_what_the_caller_says_goes_first(found):
    one = quantize(placed(values(), nodata=7), K, nodata=NODATA, random_state=0)
    np.testing.assert_array_equal(one.centers, found.centers)
    with pytest.raises(DataError, match="nodata must be a number, got 'x'"):
        quantize(raster(), 2, nodata="x")
    with pytest.raises(DataError, match="nodata=-1 is no value that pixels of uint8 can have"):
        quantize(np.zeros((2, 2), np.uint8), 2, nodata=-1)
    several = placed(values(), nodatavals=(1, 2))
    with pytest.raises(DataError, match="several values in its attribute nodatavals: 1, 2; give"):
        quantize(several, 2)
    byte = xr.DataArray(np.arange(6, dtype=np.uint8).reshape(2, 3), attrs={"nodata": -1})
    assert quantize(byte, 2, random_state=0).source.nodata is None


def test_bytes_with_nodata_are_counted():
    image = np.array([[[1, 1, 9], [1, 1, 1]], [[9, 9, 9], [5, 6, 7]]], np.uint8)
    one = quantize(image, 2, nodata=9, random_state=0)
    assert one.labels.tolist() == [[-1, 0], [-1, 1]]
    assert one.palette.tolist() == [[1, 1, 1], [5, 6, 7]]
    assert one.image.tolist() == [[[9, 9, 9], [1, 1, 1]], [[9, 9, 9], [5, 6, 7]]]
    lazy = quantize(da.from_array(image, chunks=(1, 1, 3)), 2, nodata=9, random_state=0)
    assert (lazy.shares.tolist(), lazy.mse) == ([0.5, 0.5], 0)


def test_grey_of_sixteen_bits_with_and_without_nodata(tmp_path):
    random = np.random.default_rng(2)
    grey = random.choice([900, 20_000, 61_000], (40, 50)) + random.integers(0, 500, (40, 50))
    grey = grey.astype(np.uint16)
    one = quantize(grey, 3, random_state=0)
    pixels = grey.reshape(-1, 1)
    np.testing.assert_array_equal(one.labels.reshape(-1), assign(pixels, one.centers))
    best = Reference(3, n_init=10, random_state=0).fit(pixels.astype(np.float64))
    assert one.inertia == pytest.approx(best.inertia_, rel=1e-6)
    one.write(tmp_path / "g.png")
    pillow = pytest.importorskip("PIL.Image")
    with pillow.open(tmp_path / "g.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), one.image)
    again = quantize(tmp_path / "g.png", 3, random_state=0)
    np.testing.assert_array_equal(again.labels.compute(), one.labels)
    grey[:5] = 65535
    masked = quantize(grey, 3, nodata=65535, random_state=0)
    np.testing.assert_array_equal(masked.labels == -1, grey == 65535)
    kept = grey[5:].reshape(-1, 1)
    np.testing.assert_array_equal(masked.labels[5:].reshape(-1), assign(kept, masked.centers))
    assert (masked.image[:5] == 65535).all()


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_fewer_pixels_with_data_than_colours(dtype, standardize):
    image = np.full((BANDS if dtype != np.uint8 else 3, 4, 5), 99, dtype)
    image[:, 1, 2], image[:, 3, 3] = 7, 8
    given = {"nodata": 99, "channel_axis": 0, "random_state": 0, "standardize": standardize}
    with pytest.warns(ConvergenceWarning, match="fewer distinct colours than k=3"):
        one = quantize(image, 3, **given)
    assert sorted(one.palette[:, 0].tolist()) == [7, 8]
    image[:] = 99
    with pytest.raises(DataError, match=r"every pixel of an array is transparent.* or 99"):
        quantize(image, 3, **given)


@given(st.data())
def test_which_pixels_take_part(data):
    rows = np.array(
        data.draw(st.lists(st.tuples(*[st.sampled_from([0, 3, 9, 255])] * 4), min_size=1)), np.uint8
    )
    colors, alpha = data.draw(st.sampled_from([(3, True), (3, False), (4, False), (1, True)]))
    nodata = data.draw(st.sampled_from([None, 3, 255]))
    expected = [
        all(value != nodata for value in row[:colors]) and not (alpha and row[colors] == 0)
        for row in rows.tolist()
    ]
    assert taking_part(rows, colors, alpha, nodata).tolist() == expected
    floats = blanked(rows, colors, alpha, nodata)
    np.testing.assert_array_equal(np.isnan(floats), ~np.repeat([expected], colors, 0).T)
    np.testing.assert_array_equal(floats[expected], rows[expected, :colors])


# axes


@given(st.permutations(["time", "band", "y", "x"]), st.booleans())
def test_axes_are_found_by_their_names(order, plain):
    dims = [name for name in order if not (plain and name == "time")]
    sizes = {"time": 1, "band": 2, "y": 3, "x": 4}
    shape = [sizes[name] for name in dims]
    array = np.arange(24).reshape(shape)
    axes = find_axes(shape, dims, None, "it")
    first = [name for name in dims if name in "yx"]
    assert [dims[axis] for axis in axes.kept] == [*first, "band"]
    assert axes.channel_axis == [name for name in dims if name != "time"].index("band")
    expected = array.squeeze(axis=dims.index("time")) if "time" in dims else array
    expected = np.moveaxis(expected, axes.channel_axis, 2)
    np.testing.assert_array_equal(axes.take(array), expected)
    reordered = Reordered(array, axes)
    assert reordered.shape == expected.shape
    key = slice(1, 3), slice(0, 2), slice(0, 2)
    np.testing.assert_array_equal(reordered[key], expected[key])


@pytest.mark.parametrize(
    ("shape", "names", "given", "message"),
    [
        ((3, 4, 5), ("time", "y", "x"), None, r"\(3, 4, 5\) with the axes time, y, x: select one"),
        (
            (2, 3, 4, 5),
            ("time", "band", "y", "x"),
            None,
            "select one plane, or say by channel_axis=",
        ),
        ((1, 3, 4, 5), None, None, "select one plane"),
        ((3, 4, 5), ("band", "y", "x"), "time", "'time' is no axis of it, which has the axes band"),
        ((3, 4), None, 2, "channel_axis=2 is no axis of it, which has 2 axes"),
        ((3, 4), None, 0, r"shape \(3, 4\): select one plane"),
    ],
)
def test_axes_that_are_no_image(shape, names, given, message):
    with pytest.raises(DataError, match=message):
        find_axes(shape, names, given, "it")


def test_axes_may_be_given_by_number_or_name():
    image = xr.DataArray(np.zeros((3, 4, 5)), dims=("time", "y", "x"))
    assert quantize(image, 1, channel_axis="time", random_state=0).palette.shape == (1, 3)
    assert open_image(image, channel_axis=-3).pixels.shape == (4, 5, 3)
    assert open_image(np.zeros((3, 4, 5)), channel_axis="0").pixels.shape == (4, 5, 3)
    unknown = xr.DataArray(np.zeros((4, 5, 3)))
    assert open_image(unknown).pixels.shape == (4, 5, 3)


def test_four_bands_are_alpha_only_where_nobody_named_them():
    cube = np.zeros((4, 5, 6), np.uint8)
    assert not open_image(xr.DataArray(cube, dims=("band", "y", "x"))).alpha
    assert not open_image(cube, channel_axis=0).alpha
    assert open_image(np.moveaxis(cube, 0, 2)).alpha
    assert open_image(xr.DataArray(cube, dims=("band", "y", "x")), alpha=True).alpha


def test_what_xarray_has_beside_arrays():
    with pytest.raises(DataError, match=r"it has a, b; pass one of them, such as dataset\['a'\]"):
        quantize(xr.Dataset({"a": raster(), "b": raster()}), 2)
    with pytest.raises(DataError, match="an image is a DataArray, got xarray's Variable"):
        quantize(raster().variable, 2)
    two = {name: raster().isel(band=at, drop=True) for at, name in enumerate(["red", "nir"])}
    bands = xr.Dataset(two).to_dataarray("band")
    assert quantize(bands, 2, random_state=0, nodata=NODATA).palette.shape == (2, 2)


# the command


def run(*args, status=0):
    result = CliRunner().invoke(cli, ["image", *map(str, args)], prog_name="dkmeans")
    assert result.exit_code == status, result.output
    return result


def test_the_command_on_twelve_bands(tmp_path):
    path = geotiff(tmp_path / "in.tif", values())
    args = ("-k", K, "--seed", 0, "--json", "--standardize")
    outputs = ("--labels", tmp_path / "l.tif", "-o", tmp_path / "o.tif")
    told = json.loads(run(path, *args, *outputs, "--palette", tmp_path / "p.json").stdout)
    one = quantize(path, K, standardize=True, random_state=0)
    assert told["k"][0]["inertia"] == one.inertia
    with rasterio.open(tmp_path / "l.tif") as file:
        np.testing.assert_array_equal(file.read(1), one.labels)
    stored = zarr.create_array(tmp_path / "r.zarr", data=values(), chunks=(BANDS, 25, 35))
    axis = ("--channel-axis", 0, "--nodata", -9999, "--labels", tmp_path / "l.zarr")
    told = json.loads(run(tmp_path / "r.zarr", *args, *axis).stdout)
    assert told["k"][0]["passes"] == one.passes
    labels = zarr.open_array(tmp_path / "l.zarr")[:]
    np.testing.assert_array_equal(labels == -1, ~TAKES_PART)
    refused = run(path, "-k", 2, "-o", tmp_path / "a.png", status=2).stderr
    assert "not 12 of float32: give" in refused
    refused = run(tmp_path / "r.zarr", "-k", 2, "--channel-axis", "band", status=2).stderr
    assert "channel_axis='band' is no axis of" in refused
    assert stored.shape == (BANDS, HEIGHT, WIDTH)


CHILD = """
import resource, sys
import dask.array, distributed, numba, pandas, rasterio, xarray, zarr
import dkmeans.engine.kernels, dkmeans.image
image = xarray.open_zarr(sys.argv[1], consolidated=False)["reflectance"]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
found = dkmeans.image.quantize(image, 4, random_state=0, memory_limit=int(sys.argv[2]))
found.write(labels=sys.argv[3])
print(image.nbytes, found.passes, peak() - before)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="counts the peak in other units")
def test_a_raster_larger_than_its_limit(tmp_path):
    limit, side, down, across = 352 * 2**20, 256, 11, 11
    cube = values()
    tile = np.tile(cube, (1, 6, 4))[:, :side, :side]
    group = zarr.open_group(tmp_path / "r.zarr", mode="w")
    group.create_array(
        "reflectance",
        shape=(BANDS, down * side, across * side),
        chunks=(BANDS, side, side),
        dtype="float32",
        compressors=None,
        dimension_names=("band", "y", "x"),
        attributes={"_FillValue": base64.standard_b64encode(struct.pack("<d", NODATA)).decode()},
    )[:, :side, :side] = tile
    folder = Path(group.store.root) / "reflectance" / "c" / "0"
    for row in range(down):
        (folder / str(row)).mkdir(exist_ok=True)
        for column in range(across):
            if row + column > 0:  # the same chunk again
                os.link(folder / "0" / "0", folder / str(row) / str(column))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / "r.zarr", str(limit), tmp_path / "labels.tif"],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    n_bytes, passes, peak = map(int, done.stdout.split())
    assert n_bytes > limit > peak
    assert passes <= 8
    labels = tifffile.imread(tmp_path / "labels.tif")
    corner = labels[:side, :side]
    np.testing.assert_array_equal(labels, np.tile(corner, (down, across)))
    expected = (tile == NODATA).any(axis=0)
    np.testing.assert_array_equal(corner == -1, expected)
    assert len(np.unique(corner[~expected])) == K
