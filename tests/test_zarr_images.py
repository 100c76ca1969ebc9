"""Images in Zarr and OME: which axes are what, scales, and URIs."""

import numpy as np
import pytest
import zarr
from land import BANDS, NODATA, K, check, in_memory, tifffile, values

from dkmeans.data.image_source import open_image
from dkmeans.errors import DataError, SourceError
from dkmeans.image import quantize


@pytest.fixture(scope="module")
def found():
    """The raster in memory, in four kinds."""
    return in_memory()


def ome(group, axes, version, dtype=np.uint16):
    """A multiscale image of two scales, and its full resolution."""
    sizes = {"t": 1, "c": 3, "z": 1, "y": 40, "x": 60}
    random = np.random.default_rng(4)
    full = random.integers(0, 900, [sizes[a] for a in axes]).astype(dtype)
    for path, pixels in (("0", full), ("1", full[..., ::2, ::2])):
        group.create_array(path, data=pixels, chunks=(1,) * (len(axes) - 2) + (16, 32))
    scales = [
        {
            "axes": [{"name": a} for a in axes],
            "datasets": [{"path": "0"}, {"path": "1"}],
            "version": version,
        }
    ]
    group.attrs.update(
        {"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}}
    )
    return full


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
@pytest.mark.parametrize("axes", ["tczyx", "cyx", "yx", "zyx"])
def test_multiscale_images_of_ome(tmp_path, version, zarr_format, axes):
    group = zarr.open_group(tmp_path / "i.zarr", mode="w", zarr_format=zarr_format)
    full = ome(group, axes, version)
    image = open_image(tmp_path / "i.zarr")
    expected = full.reshape(-1, 40, 60)
    np.testing.assert_array_equal(np.moveaxis(image.pixels.compute(), 2, 0), expected)
    assert image.chunk == (16, 32)
    one = quantize(zarr.open_group(tmp_path / "i.zarr"), 3, random_state=0)
    assert one.image.shape == (expected.shape if "c" in axes else (40, 60))
    one.write(tmp_path / "out.zarr")
    out = zarr.open_array(tmp_path / "out.zarr")
    assert out.metadata.dimension_names == (("c", "y", "x") if "c" in axes else ("y", "x"))
    np.testing.assert_array_equal(out[:], one.image.compute())


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([], "says that it is a multiscale image, and not where"),
        ([{"datasets": [{"path": "7"}], "axes": []}], "and not where: KeyError"),
        ([{"datasets": [{"path": "0"}], "axes": [{"name": "y"}]}], "0 has the axes y; it has not"),
        ("x", "and not where"),
    ],
)
def test_groups_that_are_no_image_of_ome(tmp_path, told, message):
    group = zarr.open_group(tmp_path / "i.zarr", mode="w")
    ome(group, "cyx", "0.5")
    group.attrs["ome"] = {"multiscales": told}
    with pytest.raises(SourceError, match=message):
        quantize(tmp_path / "i.zarr", 2)


def test_a_stack_of_ome_is_refused(tmp_path):
    group = zarr.open_group(tmp_path / "i.zarr", mode="w")
    ome(group, "tcyx", "0.5")
    group.create_array("s", data=np.zeros((5, 3, 40, 60), np.uint8))
    scales = group.attrs["ome"]["multiscales"]
    scales[0]["datasets"] = [{"path": "s"}]
    group.attrs["ome"] = {"multiscales": scales}
    with pytest.raises(DataError, match=r"\(5, 3, 40, 60\) with the axes t, c, y, x: select one"):
        quantize(tmp_path / "i.zarr", 2)


def test_a_pyramid_of_ome_tiff(tmp_path):
    random = np.random.default_rng(5)
    full = random.integers(0, 900, (3, 96, 64)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "p.ome.tif", ome=True) as file:
        tiles = {"tile": (32, 32), "photometric": "minisblack"}
        file.write(full, subifds=1, metadata={"axes": "CYX"}, **tiles)
        file.write(full[:, ::2, ::2], subfiletype=1, **tiles)
    image = open_image(tmp_path / "p.ome.tif")
    np.testing.assert_array_equal(np.moveaxis(image.pixels.compute(), 2, 0), full)
    assert quantize(tmp_path / "p.ome.tif", 3, random_state=0).image.shape == (96, 64, 3)


@pytest.mark.parametrize("named", [False, True])
def test_bands_that_come_first_in_zarr(tmp_path, named):
    names = {"dimension_names": ("band", "y", "x")} if named else {}
    stored = zarr.create_array(
        tmp_path / "r.zarr",
        data=values(),
        chunks=(4, 16, 32),
        attributes={"nodata": NODATA},
        **names,
    )
    for image in (stored, tmp_path / "r.zarr"):
        one = quantize(image, K, channel_axis=None if named else 0, random_state=0)
        check(one, values())
        assert one.image.shape == stored.shape
    one.write(tmp_path / "out.zarr", labels=tmp_path / "labels.zarr")
    out, labels = zarr.open_array(tmp_path / "out.zarr"), zarr.open_array(tmp_path / "labels.zarr")
    np.testing.assert_array_equal(out[:], one.image.compute())
    np.testing.assert_array_equal(labels[:], one.labels.compute())
    assert (out.chunks, labels.chunks) == ((BANDS, 16, 32), (16, 32))
    assert out.metadata.dimension_names == (("band", "y", "x") if named else None)
    assert (out.attrs["_FillValue"], labels.attrs["_FillValue"]) == (NODATA, -1)
    again = quantize(tmp_path / "out.zarr", K, channel_axis=0, random_state=0)
    assert again.mse == 0


def test_uris(tmp_path, found):
    image = {"data": values(), "chunks": (BANDS, 25, 35), "attributes": {"nodata": NODATA}}
    zarr.create_array(tmp_path / "r.zarr", **image)
    zarr.create_array("memory://rasters/r.zarr", **image)
    for uri, options in ((f"file://{tmp_path}/r.zarr", None), ("memory://rasters/r.zarr", {})):
        one = quantize(uri, K, channel_axis=0, storage_options=options, random_state=0)
        check(one, values())
    with pytest.raises(SourceError, match="memory://rasters/none is no Zarr array or group"):
        quantize("memory://rasters/none", 2)
    with pytest.raises(SourceError, match="cannot open nothing://x"):
        quantize("nothing://x", 2)
