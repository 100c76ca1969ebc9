"""GeoTIFFs: read with their nodata, written where they are."""

import sys

import numpy as np
import pytest
from land import (
    BANDS,
    NODATA,
    TRANSFORM,
    WKT,
    K,
    check,
    geotiff,
    in_memory,
    placed,
    raster,
    rasterio,
    tifffile,
    values,
)

from dkmeans.data.image_source import open_image
from dkmeans.errors import MissingExtraError, OutputError
from dkmeans.image import Quantized, quantize


@pytest.fixture(scope="module")
def found():
    """The raster in memory, in four kinds."""
    return in_memory()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"interleave": "band", "tiled": True, "blockxsize": 16, "blockysize": 32},
        {"interleave": "pixel", "tiled": True, "blockxsize": 32, "blockysize": 16},
        {"interleave": "pixel", "compress": "deflate", "bigtiff": "yes"},
    ],
)
def test_a_geotiff_is_read_with_its_nodata_and_written_where_it_is(tmp_path, found, options):
    one = quantize(geotiff(tmp_path / "in.tif", values(), **options), K, random_state=0)
    assert one.source.nodata == NODATA
    check(one, values())
    one.write(tmp_path / "out.tif", labels=tmp_path / "labels.tif")
    with rasterio.open(tmp_path / "labels.tif") as file:
        assert (file.crs.to_epsg(), file.transform.to_gdal()) == (32633, TRANSFORM)
        assert (file.nodata, file.dtypes, file.block_shapes) == (-1, ("int16",), [(256, 256)])
        np.testing.assert_array_equal(file.read(1), one.labels)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.crs.to_epsg(), file.transform.to_gdal()) == (32633, TRANSFORM)
        assert (file.nodata, file.count) == (NODATA, BANDS)
        np.testing.assert_array_equal(np.moveaxis(file.read(), 0, 2), one.image)
    again = quantize(tmp_path / "out.tif", K, random_state=0)
    assert (again.mse, again.source.nodata) == (0, NODATA)


def test_a_dataarray_becomes_a_geotiff_of_many_tiles(tmp_path):
    random = np.random.default_rng(3)
    cube = random.integers(0, 9, (2, 600, 300)).astype(np.int16)
    image = placed(cube, nodata=8).chunk({"y": 70, "x": 128})
    one = quantize(image, 3, random_state=0)
    one.write(tmp_path / "out.tif", labels=tmp_path / "labels.tif")
    for name, expected in (("out.tif", one.image), ("labels.tif", one.labels)):
        with rasterio.open(tmp_path / name) as file:
            assert (file.crs.to_epsg(), file.transform.to_gdal()) == (32633, TRANSFORM)
            np.testing.assert_array_equal(file.read().squeeze(), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.tif", "out.tif"]


def test_colours_and_alpha_of_a_geotiff(tmp_path):
    random = np.random.default_rng(6)
    bands = random.integers(1, 255, (4, 20, 30)).astype(np.uint8)
    bands[3, :2] = 0
    without_crs = {"crs": None, "nodata": None, "photometric": "rgb"}
    for alpha in ("no", "yes"):
        path = geotiff(tmp_path / f"{alpha}.tif", bands, alpha=alpha, **without_crs)
        one = quantize(path, 3, random_state=0)
        assert one.source.alpha == (alpha == "yes")
        assert (one.labels.compute()[:2] == -1).all() == one.source.alpha
        one.write(tmp_path / "out.tif", overwrite=True)
        assert open_image(tmp_path / "out.tif").alpha == one.source.alpha
        assert open_image(tmp_path / "out.tif").said.place().transform == TRANSFORM


def test_places_without_coordinates(tmp_path):
    bare = placed(values()).drop_vars(["x", "y", "height"])
    place = open_image(bare).said.place()
    assert (place.crs, place.transform) == (WKT, TRANSFORM)
    nowhere = quantize(np.zeros((3, 4), np.float32), 1, random_state=0)
    nowhere.write(tmp_path / "out.tif", labels=tmp_path / "labels.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), np.zeros((3, 4)))
    masked = quantize(np.zeros((3, 4), np.int16), 1, nodata=5, random_state=0)
    masked.write(tmp_path / "masked.tif")
    assert open_image(tmp_path / "masked.tif").nodata == 5


def test_places_that_a_geotiff_cannot_have(tmp_path):
    uneven = raster().isel(y=[0, 1, 4, 5, 6])
    one = quantize(uneven, 2, random_state=0)
    with pytest.raises(OutputError, match="the coordinates y are not evenly spaced"):
        one.write(labels=tmp_path / "a.tif")
    one = quantize(raster().transpose("x", "y", "band"), 2, random_state=0)
    with pytest.raises(OutputError, match=r"the image along y: transpose it to \(y, x\)"):
        one.write(tmp_path / "a.tif")
    odd = raster()
    odd.coords["spatial_ref"].attrs["crs_wkt"] = "nonsense"
    with pytest.raises(OutputError, match="GDAL cannot write such a GeoTIFF"):
        quantize(odd, 2, random_state=0).write(labels=tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_what_fails_while_a_geotiff_is_written_leaves_nothing(tmp_path):
    good = quantize(raster(), 2, random_state=0)
    torn = raster().chunk({"y": 20})
    torn = torn.copy(data=torn.data.map_blocks(fail_low, dtype=np.float32))
    bad = Quantized(good.found, open_image(torn))
    with pytest.raises(ZeroDivisionError):
        bad.write(tmp_path / "a.tif", labels=tmp_path / "l.tif")
    assert list(tmp_path.iterdir()) == []


def fail_low(block, block_info=None):
    if block_info and block_info[0]["chunk-location"][1] == 2:
        raise ZeroDivisionError
    return block


def test_rasterio_is_named_where_it_is_missing(tmp_path, monkeypatch):
    path = geotiff(tmp_path / "in.tif", values())
    one = quantize(path, 2, random_state=0)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    for outputs in ({"image": tmp_path / "a.tif"}, {"labels": tmp_path / "a.tif"}):
        with pytest.raises(MissingExtraError, match=r'pip install "dkmeans\[raster\]"'):
            one.write(**outputs)
    one.write(labels=tmp_path / "labels.zarr")
    assert not (tmp_path / "a.tif").exists()
