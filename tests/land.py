"""A raster of twelve bands with nodata, where it is on Earth, and what is true of its classes."""

from functools import cache

import numpy as np
import pytest
from naive import assign, sq_to_own
from sklearn.cluster import KMeans as Reference

from dkmeans.image import quantize

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")
xr = pytest.importorskip("xarray")

NODATA = -9999.0
HEIGHT, WIDTH, BANDS, K = 50, 70, 12, 4
WKT = rasterio.CRS.from_epsg(32633).to_wkt()
TRANSFORM = (500_000.0, 20.0, 0.0, 4_600_000.0, 0.0, -20.0)  # GDAL's
TAKES_PART = np.ones((HEIGHT, WIDTH), bool)
TAKES_PART[:8, :9] = TAKES_PART[20, 31] = TAKES_PART[40:, 60:] = False


def values(dtype=np.float32):
    """(band, y, x): four kinds of land, and pixels without data in one band or in all."""
    random = np.random.default_rng(0)
    land = np.cumsum(random.integers(0, 40, (K, BANDS)), axis=0) * 3
    cube = land[random.integers(0, K, (HEIGHT, WIDTH))] + random.normal(size=(HEIGHT, WIDTH, BANDS))
    cube = np.moveaxis(np.rint(cube * 4), 2, 0).astype(dtype)
    cube[:, :8, :9] = NODATA
    cube[5, 20, 31] = cube[11, 40:, 60:] = NODATA
    return cube


def placed(cube, dims=("band", "y", "x"), **attrs):
    """A DataArray as rioxarray has it, with coordinates of all kinds."""
    sizes = dict(zip(dims, cube.shape, strict=True))
    grid = xr.DataArray(0, attrs={"crs_wkt": WKT, "GeoTransform": " ".join(map(str, TRANSFORM))})
    coords = {
        "y": TRANSFORM[3] - 20 * (np.arange(sizes["y"]) + 0.5),
        "x": TRANSFORM[0] + 20 * (np.arange(sizes["x"]) + 0.5),
        "height": (("y", "x"), np.arange(sizes["y"] * sizes["x"]).reshape(sizes["y"], -1)),
        "spatial_ref": grid,
    }
    if "band" in sizes:
        coords |= {
            "band": np.arange(1, sizes["band"] + 1),
            "wavelength": ("band", np.linspace(440, 2200, sizes["band"])),
        }
    found = xr.DataArray(cube, coords, dims, "reflectance", {"long_name": "toa", **attrs})
    found.encoding["grid_mapping"] = "spatial_ref"
    return found


def raster(**attrs):
    return placed(values(), units="1", **{"_FillValue": np.float32(NODATA), **attrs})


def pixels_of(cube):
    """Rows that take part, of (band, y, x)."""
    return np.moveaxis(cube, 0, 2)[TAKES_PART]


@cache
def in_memory():
    """The raster in memory, in four kinds."""
    return quantize(raster(), K, random_state=0)


def check(one, cube):
    """Everything that is said of the raster, against the obvious."""
    labels = np.asarray(one.labels)
    np.testing.assert_array_equal(labels == -1, ~TAKES_PART)
    pixels = pixels_of(cube)
    np.testing.assert_array_equal(labels[TAKES_PART], assign(pixels, one.centers))
    own = sq_to_own(pixels, one.centers, labels[TAKES_PART])
    assert one.inertia == pytest.approx(own.sum(), rel=1e-6)
    np.testing.assert_array_equal(one.shares, np.bincount(labels[TAKES_PART]) / TAKES_PART.sum())
    colors = one.palette[labels[TAKES_PART]].astype(np.float64)
    assert one.mse == pytest.approx(np.mean((colors - pixels) ** 2), rel=1e-9)
    best = Reference(K, n_init=10, random_state=0).fit(pixels.astype(np.float64))
    assert one.inertia <= best.inertia_ * (1 + 1e-6)


def geotiff(path, cube, **options):
    """The raster as GDAL writes it."""
    profile = {"driver": "GTiff", "count": len(cube), "dtype": cube.dtype, "crs": WKT}
    profile |= {"height": cube.shape[1], "width": cube.shape[2], "nodata": NODATA}
    profile |= {"transform": rasterio.Affine.from_gdal(*TRANSFORM), **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(cube)
    return path
