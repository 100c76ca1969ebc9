"""Images in few colours: exact, the same from every format, written as others read them."""

import json
import math
import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from naive import assign, sq_to_own
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning

import dkmeans
from dkmeans.cli import cli
from dkmeans.data.image_source import open_image
from dkmeans.engine.color_spaces import from_srgb
from dkmeans.errors import DataError, MemoryLimitError, MissingExtraError, OutputError, SourceError
from dkmeans.image import quantize

pillow = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")

PHOTO = np.ascontiguousarray(load_sample_image("china.jpg")[::3, ::3])
HEIGHT, WIDTH = PHOTO.shape[:2]


@pytest.fixture(scope="module")
def found():
    """The photo in 2, 8 and 300 colours."""
    return quantize(PHOTO, [2, 8, 300], random_state=0)


def plain_mse(a, b):
    return float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


@pytest.mark.parametrize("k", [2, 8, 300])
def test_the_result_is_kmeans_on_all_pixels(found, k):
    one, pixels = found[k], PHOTO.reshape(-1, 3)
    labels = one.labels.reshape(-1)
    np.testing.assert_array_equal(labels, assign(pixels, one.centers))
    own = sq_to_own(pixels, one.centers, labels)
    assert one.inertia == pytest.approx(math.fsum(own), rel=1e-12)
    for j in range(k):
        np.testing.assert_allclose(one.centers[j], pixels[labels == j].mean(axis=0), rtol=1e-12)
    sizes = np.bincount(labels)
    np.testing.assert_array_equal(one.shares, sizes / len(labels))
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("k", [2, 8, 300])
def test_the_image_and_its_scores(found, k):
    one = found[k]
    assert isinstance(one.labels, np.ndarray)
    np.testing.assert_array_equal(one.palette, np.rint(one.centers).astype(np.uint8))
    np.testing.assert_array_equal(one.image, one.palette[one.labels])
    assert (one.image.shape, one.image.dtype) == (PHOTO.shape, PHOTO.dtype)
    assert one.mse == pytest.approx(plain_mse(one.image, PHOTO), rel=1e-13)
    assert one.psnr == pytest.approx(10 * math.log10(255**2 / one.mse))
    bits = {2: 1, 8: 3, 300: 9}[k]
    smaller = math.ceil(HEIGHT * WIDTH * bits / 8) + 3 * k
    assert one.compression_ratio == pytest.approx(PHOTO.nbytes / smaller)
    assert one.passes == 1


def test_one_of_several_is_what_it_is_alone(found):
    alone = quantize(PHOTO, 8, random_state=0)
    np.testing.assert_array_equal(alone.centers, found[8].centers)
    assert alone.inertia == found[8].inertia


def sq_error_of_ten_starts(photo, k):
    """What scikit-learn finds from all pixels."""
    pixels = photo.reshape(-1, 3).astype(np.float32)
    model = Reference(k, n_init=10, random_state=0).fit(pixels)
    return sq_to_own(pixels, model.cluster_centers_.astype(np.float64), model.labels_).sum()


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_as_good_as_ten_starts_of_scikit_learn(name):
    photo = load_sample_image(name)[::6, ::6]
    for k, one in quantize(photo, [4, 16, 48], random_state=0).items():
        assert one.inertia <= sq_error_of_ten_starts(photo, k) * (1 + 1e-9)


# of scikit-learn 1.9.1, n_init=10, random_state=0, on all pixels as float32
BEST_OF_TEN = {
    "china.jpg": {
        2: 1053448305,
        4: 374074849,
        8: 172681684,
        16: 93766581,
        32: 51875014,
        64: 30636964,
        128: 18712899,
        256: 11665078,
    },
    "flower.jpg": {
        2: 589402330,
        4: 241733007,
        8: 119173566,
        16: 58982756,
        32: 34101458,
        64: 20263023,
        128: 12171822,
        256: 7380639,
    },
}


@pytest.mark.parametrize("name", BEST_OF_TEN)
def test_no_worse_than_what_ten_starts_found_in_whole_photos(name):
    found = quantize(load_sample_image(name), list(BEST_OF_TEN[name]), random_state=0)
    assert {one.passes for one in found.values()} == {1}
    ratios = {k: one.inertia / BEST_OF_TEN[name][k] for k, one in found.items()}
    assert max(ratios.values()) <= 1, ratios


@pytest.mark.slow
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_as_good_as_ten_starts_on_whole_photos(name):
    photo = load_sample_image(name)
    for k, one in quantize(photo, [2, 4, 8, 16, 32, 64], random_state=0).items():
        assert one.inertia <= sq_error_of_ten_starts(photo, k) * (1 + 1e-9)


def written(folder, kind):
    """The photo as a file of this kind."""
    path = folder / f"photo.{kind.partition('-')[0]}"
    if kind == "png":
        pillow.fromarray(PHOTO).save(path)
    elif kind == "zarr":
        zarr.create_array(path, data=PHOTO, chunks=(50, 64, 3))
    elif kind == "tif-planes":
        planes = np.moveaxis(PHOTO, 2, 0)
        options = {"planarconfig": "separate", "tile": (32, 32), "compression": "zlib"}
        tifffile.imwrite(path, planes, photometric="rgb", **options)
    else:
        options = {
            "tif": {},
            "tif-tiles": {"tile": (64, 32), "compression": "zlib"},
            "tif-strips": {"rowsperstrip": 7, "compression": "lzw"},
            "tif-big": {"tile": (32, 32), "bigtiff": True},
        }[kind]
        tifffile.imwrite(path, PHOTO, photometric="rgb", **options)
    return path


KINDS = ["png", "zarr", "tif", "tif-tiles", "tif-strips", "tif-planes", "tif-big"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_from_every_format(tmp_path, found, kind):
    one = quantize(written(tmp_path, kind), 8, random_state=0)
    np.testing.assert_array_equal(one.centers, found[8].centers)
    assert (one.mse, one.inertia) == (found[8].mse, found[8].inertia)
    assert isinstance(one.labels, da.Array)
    assert one.image.chunks == one.source.pixels.chunks
    np.testing.assert_array_equal(one.labels.compute(), found[8].labels)
    np.testing.assert_array_equal(one.image.compute(), found[8].image)


@pytest.mark.parametrize("chunks", [(10, 10, 1), (HEIGHT, 7, 3), (31, (100, 50, 64), 3)])
def test_the_same_bits_from_any_chunks(found, chunks):
    one = quantize(da.from_array(PHOTO, chunks=chunks), 8, random_state=0)
    np.testing.assert_array_equal(one.centers, found[8].centers)
    np.testing.assert_array_equal(one.labels.compute(), found[8].labels)


def test_the_same_bits_on_a_cluster(client, tmp_path, found):
    for image in (da.from_array(PHOTO, chunks=(40, 50, 3)), written(tmp_path, "tif-tiles")):
        one = quantize(image, 8, random_state=0)
        np.testing.assert_array_equal(one.centers, found[8].centers)
        np.testing.assert_array_equal(one.labels.compute(), found[8].labels)
    one.write(tmp_path / "out.png", labels=tmp_path / "labels.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "labels.zarr")[:], found[8].labels)


class Counting:
    """An array that counts how often each part of it is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.reads = []

    def __getitem__(self, key):
        self.reads.append(tuple((s.start, s.stop) for s in key[:2]))
        return self.array[key]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_pass_reads_each_chunk_once(tmp_path, alpha, dtype):
    pixels = np.concatenate([PHOTO, np.full((HEIGHT, WIDTH, 1), 9, np.uint8)], axis=2)
    counting = Counting(np.ascontiguousarray(pixels if alpha else PHOTO, dtype))
    image = da.from_array(
        counting, chunks=(40, 100, -1), asarray=False, meta=np.empty((0, 0, 0), dtype)
    )
    chunks = {
        ((r, min(r + 40, HEIGHT)), (c, min(c + 100, WIDTH)))
        for r in range(0, HEIGHT, 40)
        for c in range(0, WIDTH, 100)
    }
    counting.reads.clear()
    one = quantize(image, [3, 5], random_state=0, memory_limit="1 GiB")[5]
    assert set(counting.reads) == chunks
    read = one.passes if dtype == np.uint8 else 2  # kept in memory, then scored
    assert len(counting.reads) == read * len(chunks)
    counting.reads.clear()
    one.write(tmp_path / "out.png", labels=tmp_path / "labels.zarr")
    assert sorted(counting.reads) == sorted(chunks)


def test_nothing_is_computed_before_it_is_asked_for(computes):
    one = quantize(da.from_array(PHOTO, chunks=(40, 100, 3)), 3, random_state=0)
    assert computes.computes == 1
    assert (one.labels.shape, one.image.shape) == (PHOTO.shape[:2], PHOTO.shape)
    assert computes.computes == 1
    one.labels.compute()
    assert computes.computes == 2


def test_a_large_image_adds_up_in_one_array(monkeypatch, found):
    monkeypatch.setattr("dkmeans.engine.distinct.Total.pays", lambda *_: True)
    one = quantize(da.from_array(PHOTO, chunks=(20, 60, 3)), 8, random_state=0)
    np.testing.assert_array_equal(one.centers, found[8].centers)


@pytest.mark.parametrize("space", ["srgb", "oklab"])
def test_many_colours_start_among_cells(monkeypatch, space):
    expected = quantize(PHOTO, 8, random_state=0, space=space)
    monkeypatch.setattr("dkmeans.palettes._MANY", 1000)
    one = quantize(PHOTO, 8, random_state=0, space=space)
    assert one.inertia < 1.002 * expected.inertia
    assert one.inertia != expected.inertia
    pixels = from_srgb(PHOTO.reshape(-1, 3), space)
    labels = one.labels.reshape(-1)
    np.testing.assert_array_equal(labels, assign(pixels, one.centers))
    assert one.inertia == pytest.approx(math.fsum(sq_to_own(pixels, one.centers, labels)))


@pytest.mark.parametrize("kind", ["png", "zarr", "tif-tiles"])
def test_many_colours_are_the_same_bits_from_every_format(monkeypatch, tmp_path, kind):
    monkeypatch.setattr("dkmeans.palettes._MANY", 1000)
    listed = quantize(PHOTO, 8, random_state=0)
    monkeypatch.setattr("dkmeans.engine.distinct.Total.pays", lambda *_: True)
    tabled = quantize(written(tmp_path, kind), 8, random_state=0)
    np.testing.assert_array_equal(tabled.centers, listed.centers)
    np.testing.assert_array_equal(tabled.shares, listed.shares)
    assert (tabled.mse, tabled.inertia) == (listed.mse, listed.inertia)
    np.testing.assert_array_equal(tabled.labels.compute(), listed.labels)
    error = PHOTO.astype(float) - listed.image
    assert listed.mse == pytest.approx(np.mean(error**2), rel=1e-12)


def test_more_colours_than_cells_are_few_for_are_found_without_them(monkeypatch):
    monkeypatch.setattr("dkmeans.palettes._MANY", 1000)
    photo = PHOTO[:40, :40]
    found = quantize(photo, [2, 300], random_state=0)
    assert [len(one.palette) for one in found.values()] == [2, 300]
    assert found[2].mse > found[300].mse
    np.testing.assert_array_equal(found[300].palette, quantize(photo, 300, random_state=0).palette)


def test_grey_by_hand():
    grey = np.array([[0, 0, 1], [200, 202, 0]], np.uint8)
    one = quantize(grey, 2, random_state=0)
    assert one.palette.tolist() == [[0], [201]]
    assert one.labels.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert one.image.tolist() == [[0, 0, 0], [201, 201, 0]]
    assert one.hex == ("#000000", "#c9c9c9")
    assert one.mse == pytest.approx((1 + 1 + 1) / 6)
    assert one.inertia == pytest.approx(0.75 + 2)
    assert one.shares.tolist() == pytest.approx([2 / 3, 1 / 3])


def rgba():
    """Red, red, green that is half transparent, and blue that nobody sees."""
    return np.array(
        [[[255, 0, 0, 255], [255, 0, 0, 255]], [[0, 255, 0, 128], [0, 0, 255, 0]]], np.uint8
    )


def test_transparent_pixels_take_no_part_and_alpha_is_kept(tmp_path):
    pillow.fromarray(rgba()).save(tmp_path / "in.png")
    for image in (rgba(), tmp_path / "in.png"):
        one = quantize(image, 2, random_state=0)
        assert one.palette.tolist() == [[255, 0, 0], [0, 255, 0]]
        assert np.asarray(one.labels).tolist() == [[0, 0], [1, -1]]
        expected = rgba()
        expected[1, 1] = 0
        np.testing.assert_array_equal(np.asarray(one.image), expected)
        assert one.mse == 0
        one.write(tmp_path / "out.png", overwrite=True)
        with pillow.open(tmp_path / "out.png") as out:
            assert out.mode == "RGBA"
            np.testing.assert_array_equal(np.asarray(out), expected)


def test_four_bands_may_be_colours():
    image = np.arange(4 * 6 * 4, dtype=np.uint8).reshape(4, 6, 4)
    one = quantize(image, 3, alpha=False, random_state=0)
    assert one.palette.shape == (3, 4)
    assert one.mse == pytest.approx(plain_mse(one.image, image))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_other_types_are_clustered_in_few_passes(dtype):
    image = PHOTO[:60, :80].astype(dtype) * dtype(100)
    one = quantize(image, 6, random_state=0)
    lazy = quantize(da.from_array(image, chunks=(20, 80, 1)), 6, random_state=0)
    np.testing.assert_array_equal(lazy.centers, one.centers)
    tiles = quantize(da.from_array(image, chunks=(20, 30, 3)), 6, random_state=0)
    assert tiles.inertia == pytest.approx(one.inertia, rel=0.01)
    assert one.image.dtype == dtype
    assert one.mse == pytest.approx(plain_mse(one.image, image), rel=1e-6)
    labels = assign(image.reshape(-1, 3), one.centers).reshape(image.shape[:2])
    np.testing.assert_array_equal(one.labels, labels)
    np.testing.assert_array_equal(one.shares, np.bincount(labels.ravel()) / labels.size)
    assert math.isnan(one.psnr) == (dtype == np.float32)


def test_nan_takes_no_part():
    image = np.array([[[1.0], [np.nan]], [[3.0], [50.0]]])
    one = quantize(image, 2, random_state=0)
    assert one.labels.tolist() == [[0, -1], [0, 1]]
    np.testing.assert_array_equal(one.image[:, :, 0], [[2, np.nan], [2, 50]])
    assert one.mse == pytest.approx(2 / 3)


def test_sixteen_bits_with_alpha(tmp_path):
    image = rgba().astype(np.uint16) * 257
    one = quantize(image, 2, random_state=0)
    assert one.labels.tolist() == [[0, 0], [1, -1]]
    assert one.shares.tolist() == pytest.approx([2 / 3, 1 / 3])
    one.write(tmp_path / "out.png")
    with pillow.open(tmp_path / "out.png") as out:
        np.testing.assert_array_equal(np.asarray(out), one.image // 257)


@pytest.mark.parametrize("space", ["lab", "oklab"])
def test_perceptual_spaces(space, found):
    one = quantize(PHOTO, 8, space=space, random_state=0)
    assert one.mse > found[8].mse
    assert one.mse == pytest.approx(plain_mse(one.image, PHOTO), rel=1e-13)
    from dkmeans.engine.color_spaces import from_srgb

    points = from_srgb(PHOTO.reshape(-1, 3), space).astype(np.float64)
    assert one.inertia == pytest.approx(
        np.sum((points - one.centers[one.labels.ravel()]) ** 2), rel=1e-6
    )
    other = from_srgb(found[8].centers, space).astype(np.float64)
    assert one.inertia < np.sum((points - other[found[8].labels.ravel()]) ** 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_one_pixel_and_more_colours_than_there_are(dtype):
    with pytest.warns(
        ConvergenceWarning, match="fewer distinct colours than k=4: the palette has 1$"
    ):
        one = quantize(np.full((1, 1, 3), 7, dtype), 4, random_state=0)
    assert one.palette.tolist() == [[7, 7, 7]]
    assert one.labels.tolist() == [[0]]
    assert (one.mse, one.psnr) == (0, math.inf)


def test_fewer_colours_than_asked_for():
    image = np.array([[0, 5, 5], [9, 9, 9]], np.uint8)
    with pytest.warns(
        ConvergenceWarning, match="fewer distinct colours than k=5: the palette has 3$"
    ):
        found = quantize(image, [2, 5], random_state=0)
    assert found[5].palette.tolist() == [[9], [5], [0]]
    np.testing.assert_array_equal(found[5].image, image)
    assert len(found[2].palette) == 2


@pytest.mark.parametrize("k", [2, 8, 300])
def test_written_pictures_are_the_image(tmp_path, found, k):
    one = found[k]
    for name in ("a.png", "a.tif", "a.zarr"):
        one.write(tmp_path / name, labels=tmp_path / f"{name}-labels.zarr")
        labels = zarr.open_array(tmp_path / f"{name}-labels.zarr")
        np.testing.assert_array_equal(labels[:], one.labels)
    with pillow.open(tmp_path / "a.png") as out:
        assert out.mode == ("P" if k <= 256 else "RGB")
        np.testing.assert_array_equal(np.asarray(out.convert("RGB")), one.image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), one.image)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr")[:], one.image)


@pytest.mark.parametrize("shape", [(5, 9), (300, 520), (300, 520, 2), (3, 2, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_images_of_any_bands(tmp_path, shape, dtype):
    image = np.random.default_rng(0).integers(0, 40, shape).astype(dtype) * dtype(6)
    one = quantize(image, 5, alpha=False, random_state=0)
    one.write(tmp_path / "a.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), one.image)
    if len(shape) == 2:
        one.write(tmp_path / "a.png")
        with pillow.open(tmp_path / "a.png") as out:
            seen = np.asarray(out.convert("L") if dtype == np.uint8 else out)
        np.testing.assert_array_equal(seen, one.image)
    else:
        with pytest.raises(OutputError, match=r"a PNG holds 1 or 3 bands of .*; not [25] of uint"):
            one.write(tmp_path / "a.png")
    assert open_image(tmp_path / "a.tif").pixels.shape[:2] == shape[:2]


def test_a_zarr_image_keeps_its_chunks(tmp_path):
    one = quantize(written(tmp_path, "zarr"), 4, random_state=0)
    one.write(tmp_path / "out.zarr", labels=tmp_path / "labels.zarr")
    assert zarr.open_array(tmp_path / "out.zarr").chunks == (50, 64, 3)
    assert zarr.open_array(tmp_path / "labels.zarr").chunks == (50, 64)


def test_written_palettes(tmp_path, found):
    one = found[8]
    for name in ("p.json", "p.gpl", "p.png"):
        one.write(palette=tmp_path / name)
    entries = json.loads((tmp_path / "p.json").read_text())
    assert [entry["hex"] for entry in entries] == list(one.hex)
    assert [entry["color"] for entry in entries] == one.palette.tolist()
    assert [entry["share"] for entry in entries] == one.shares.tolist()
    from PIL.GimpPaletteFile import GimpPaletteFile

    with open(tmp_path / "p.gpl", "rb") as file:
        colors, mode = GimpPaletteFile(file).getpalette()
    assert mode == "RGB"
    assert colors[: 3 * 8] == one.palette.tobytes()
    with pillow.open(tmp_path / "p.png") as swatches:
        np.testing.assert_array_equal(np.asarray(swatches)[16, 16::32], one.palette)


def test_outputs_are_refused_before_any_is_written(tmp_path, found):
    (tmp_path / "there.zarr").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        found[2].write(tmp_path / "a.png", labels=tmp_path / "there.zarr")
    with pytest.raises(OutputError, match=r"must end in .png, .tif, .tiff, .zarr"):
        found[2].write(tmp_path / "a.jpg")
    with pytest.raises(OutputError, match=r"must end in .zarr"):
        found[2].write(labels=tmp_path / "a.parquet")
    with pytest.raises(OutputError, match=r"must end in .json, .gpl, .png"):
        found[2].write(palette=tmp_path / "a.txt")
    wide = quantize(np.zeros((2, 2, 3), np.uint16), 1, random_state=0)
    with pytest.raises(
        OutputError, match=r"3 bands of uint16 have no place in .*; give it the ending .json"
    ):
        wide.write(palette=tmp_path / "a.gpl")
    assert [p.name for p in tmp_path.iterdir()] == ["there.zarr"]


def test_what_fails_while_writing_leaves_nothing(tmp_path):
    torn = da.from_array(PHOTO, chunks=(40, 100, 3)).map_blocks(fail_low, dtype=np.uint8)
    good = quantize(PHOTO, 2, random_state=0)
    bad = dkmeans.image.Quantized(good.found, open_image(torn))
    with pytest.raises(ZeroDivisionError):
        bad.write(tmp_path / "a.png", labels=tmp_path / "l.zarr")
    assert list(tmp_path.iterdir()) == []


def fail_low(block, block_info=None):
    if block_info and block_info[0]["chunk-location"][0] == 2:
        raise ZeroDivisionError
    return block


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", 1), ("1", 1), ("P", 3), ("LA", 2), ("CMYK", 3), ("RGB", 3), ("RGBA", 4), ("I;16", 1)],
)
def test_pictures_of_every_mode(tmp_path, mode, expected):
    picture = pillow.fromarray(PHOTO)
    picture = (
        pillow.fromarray(PHOTO[:, :, 0].astype(np.uint16))
        if mode == "I;16"
        else picture.convert(mode)
    )
    path = tmp_path / ("a.tiff.jpg" if mode == "CMYK" else "a.png")
    picture.save(path)
    image = open_image(path)
    assert image.pixels.shape == (HEIGHT, WIDTH, expected)
    assert image.alpha == mode.endswith("A")
    if mode in ("L", "LA", "RGB", "RGBA"):
        np.testing.assert_array_equal(image.pixels.compute().squeeze(), np.asarray(picture))


def test_photos_are_upright(tmp_path):
    exif = pillow.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    pillow.fromarray(PHOTO).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        open_image(tmp_path / "a.png").pixels.compute(), np.rot90(PHOTO, -1)
    )


def test_torn_and_foreign_files(tmp_path):
    pillow.fromarray(PHOTO).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(SourceError, match=r"torn.jpg: image file is truncated"):
        quantize(tmp_path / "torn.jpg", 2)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(SourceError, match=r"cannot read the image .*text.png"):
        quantize(tmp_path / "text.png", 2)
    (tmp_path / "text.tif").write_text("no picture")
    with pytest.raises(SourceError, match=r"cannot read the image .*text.tif"):
        quantize(tmp_path / "text.tif", 2)
    with pytest.raises(SourceError, match="no such file or folder"):
        quantize(tmp_path / "none.png", 2)
    zarr.open_group(tmp_path / "g.zarr", mode="w").create_array("0", data=PHOTO)
    with pytest.raises(SourceError, match="is a Zarr group with 0; pass one of its arrays"):
        quantize(tmp_path / "g.zarr", 2)


def test_torn_and_other_tiffs(tmp_path):
    path = written(tmp_path, "tif-tiles")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        raw[file.pages[0].dataoffsets[3] + 1] ^= 255
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=r"cannot read lines \d+ to \d+ of .*photo.tif"):
        quantize(path, 2)
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((4, 30, 40), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match=r"\(4, 30, 40\) with the axes Q, Y, X: select one plane"):
        quantize(tmp_path / "z.tif", 2)
    pillow.fromarray(PHOTO).convert("P").save(tmp_path / "p.tif")
    with pytest.raises(SourceError, match="has a palette of its own"):
        quantize(tmp_path / "p.tif", 2)
    rgba_tiff = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", rgba(), **rgba_tiff)
    assert open_image(tmp_path / "a.tif").alpha
    tifffile.imwrite(tmp_path / "b.tif", rgba(), photometric="rgb", extrasamples=[0])
    assert not open_image(tmp_path / "b.tif").alpha


def test_a_decompression_bomb_is_refused_unless_trusted(tmp_path, monkeypatch):
    pillow.fromarray(PHOTO).save(tmp_path / "a.png")
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SourceError, match=r"decompression bomb.*any_size=True \(--any-size\)"):
        quantize(tmp_path / "a.png", 2)
    assert quantize(tmp_path / "a.png", 2, any_size=True, random_state=0).labels.shape == (
        HEIGHT,
        WIDTH,
    )
    assert pillow.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros(3), r"an array has the shape \(3,\)"),
        (np.zeros((0, 4)), r"an array has the shape \(0, 4\)"),
        (np.zeros((2, 2, 2, 2)), r"\(height, width\) or \(height, width, bands\)"),
        (np.array([["a"]]), "real numbers; an array has dtype <U1"),
        (np.zeros((2, 2), complex), "real numbers"),
        (np.zeros((3, 3, 4), np.uint8), "every pixel of an array is transparent"),
    ],
)
def test_what_is_no_image(image, message):
    with pytest.raises(DataError, match=message):
        quantize(image, 2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="k must be a positive integer or several"):
        quantize(PHOTO, [4, 0])
    for wrong in (0, -1, 1.5, True, "ten"):
        with pytest.raises(ValueError, match="n_init must be 'auto' or a positive integer; got "):
            quantize(PHOTO, 2, n_init=wrong)
    with pytest.raises(ValueError, match="space must be one of srgb, lab, oklab; got 'hsv'"):
        quantize(PHOTO, 2, space="hsv")
    with pytest.raises(DataError, match="space='lab' is for 3 bands of 8 bits; an array has 1"):
        quantize(PHOTO[:, :, 0], 2, space="lab")
    with pytest.raises(DataError, match="one band, which cannot be alpha alone"):
        quantize(PHOTO[:, :, 0], 2, alpha=True)
    unknown = da.from_array(PHOTO[:, :, 0], chunks=10)
    with pytest.raises(DataError, match="chunks of unknown size"):
        quantize(unknown[unknown[:, 0] > 3], 2)


@pytest.mark.parametrize(
    ("limit", "each", "message"),
    [
        (
            "200 kB",
            16,
            "a pass over an array needs .* memory_limit is 195.31 kiB: raise it, or",
        ),
        (
            "2 GiB",
            10**6,
            "17,803 distinct colours and compiled code take .* memory_limit is 2.00",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_numbers(monkeypatch, limit, each, message):
    monkeypatch.setattr("dkmeans.palettes._COLOR_BYTES", each)
    with pytest.raises(MemoryLimitError, match=message):
        quantize(PHOTO, 2, memory_limit=limit)


@pytest.mark.parametrize(("name", "package"), [("a.png", "PIL"), ("a.tif", "tifffile")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=r'pip install "dkmeans\[image\]"'):
        quantize(tmp_path / name, 2)


def test_a_result_says_what_it_is(found):
    assert repr(found[2]) == (
        f"<Quantized: 2 colours for {HEIGHT} x {WIDTH} pixels of an array, MSE {found[2].mse:.5g}>"
    )


def test_a_result_can_be_sent(found):
    again = pickle.loads(pickle.dumps(found[2]))
    np.testing.assert_array_equal(again.labels, found[2].labels)


# the command


def run(*args, status=0):
    result = CliRunner().invoke(cli, ["image", *map(str, args)], prog_name="dkmeans")
    assert result.exit_code == status, result.output
    return result


def refused(*args):
    result = run(*args, status=2)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_command_writes_what_python_finds(tmp_path, found):
    source, out = written(tmp_path, "png"), tmp_path / "out"
    out.mkdir()
    result = run(
        *(source, "-k", 8, "-o", out / "o.png", "--labels", out / "l.zarr", "--seed", 0),
        *("--palette", out / "p.gpl"),
    )
    with pillow.open(out / "o.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), found[8].image)
    np.testing.assert_array_equal(zarr.open_array(out / "l.zarr")[:], found[8].labels)
    head, line, empty, *others = result.stdout.splitlines()
    assert head.split() == ["k", "MSE", "PSNR", "dB", "ratio", "seconds"]
    assert line.split()[:2] == ["8", f"{found[8].mse:.4f}"]
    assert line.split()[3] == f"{found[8].compression_ratio:.1f}"
    names = [text.split()[0] for text in others]
    assert (empty, names) == ("", ["passes", "image", "labels", "palette"])
    assert others[0].split()[:2] == ["passes", "1"]
    assert "exists already" in refused(source, "-k", 8, "-o", out / "o.png")
    run(source, "-k", 8, "-o", out / "o.png", "--overwrite")


def test_the_command_with_several_k(tmp_path, found):
    source = written(tmp_path, "tif-tiles")
    args = (source, "--k-list", "8,2", "-o", tmp_path / "o-{k}.png", "--seed", 0, "--json")
    result = json.loads(run(*args).stdout)
    assert [line["mse"] for line in result["k"]] == [found[2].mse, found[8].mse]
    assert (tmp_path / "o-2.png").exists()
    assert (tmp_path / "o-8.png").exists()
    both = ("-o", tmp_path / "a.png", "--labels", tmp_path / "l.zarr", "--space", "lab")
    shown = run(source, "--k-list", "2,4", "--seed", 0, *both).stdout
    head = ["k", "MSE", "PSNR", "dB", "MSE", "in", "lab", "ratio", "seconds"]
    assert shown.splitlines()[0].split() == head
    assert {p.name for p in tmp_path.glob("[al]-*")} == {
        *("a-2.png", "a-4.png", "l-2.zarr", "l-4.zarr"),
    }
    assert "exists already" in refused(source, "--k-list", "4,8", "-o", tmp_path / "a.png")
    assert not (tmp_path / "a-8.png").exists()


def test_more_colours_than_a_png_has_room_for_are_in_a_file_beside_it(tmp_path, found):
    source, beside = written(tmp_path, "png"), tmp_path / "o-300.json"
    run(source, "--k-list", "8,300", "-o", tmp_path / "o.png", "--seed", 0)
    assert not (tmp_path / "o-8.json").exists()
    colors = [entry["color"] for entry in json.loads(beside.read_text())]
    assert colors == found[300].palette.tolist()
    with pillow.open(tmp_path / "o-300.png") as picture:
        assert picture.mode == "RGB"
    gpl = tmp_path / "p.gpl"
    run(source, "-k", 300, "-o", tmp_path / "a.png", "--palette", gpl)
    assert gpl.exists()
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.json").touch()
    assert "b.json exists already" in refused(source, "-k", 300, "-o", tmp_path / "b.png")


def test_the_command_with_more_colours_than_there_are(tmp_path):
    pillow.fromarray(np.full((1, 1, 3), 7, np.uint8)).save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", "--k-list", "1,4", "-o", tmp_path / "o.png")
    head, one, four = result.stdout.splitlines()[:3]
    assert head.split()[:3] == ["k", "colors", "MSE"]
    assert [line.split()[:4] for line in (one, four)] == [
        ["1", "1", "0.0000", "-"],
        ["4", "1", "0.0000", "-"],
    ]
    assert result.stderr.startswith("Warning: ")
    assert result.stderr.count("\n") == 1
    assert "fewer distinct colours than k=4: the palette has 1" in result.stderr
    with pillow.open(tmp_path / "o-4.png") as picture:
        assert np.asarray(picture.convert("RGB")).tolist() == [[[7, 7, 7]]]


def test_the_command_and_a_bomb(tmp_path, monkeypatch):
    pillow.fromarray(PHOTO).save(tmp_path / "a.png")
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 1000)
    assert "--any-size" in refused(tmp_path / "a.png", "-k", 2)
    run(tmp_path / "a.png", "-k", 2, "--any-size")


def test_mistakes_of_the_command(tmp_path):
    source = written(tmp_path, "png")
    assert "either -k or --k-list" in refused(source)
    assert "either -k or --k-list" in refused(source, "-k", 2, "--k-list", "3")
    assert "'x' is neither a number nor a range" in refused(source, "--k-list", "2,x")
    assert "is the input" in refused(source, "-k", 2, "-o", source, "--overwrite")
    same = tmp_path / "a.png"
    assert "another output" in refused(source, "-k", 2, "-o", same, "--palette", same)
    assert "must end in .zarr" in refused(source, "-k", 2, "--labels", tmp_path / "a.npy")
    assert "no such file" in refused(tmp_path / "none.png", "-k", 2)
    assert "channel_axis='7' is no axis" in refused(source, "-k", 2, "--channel-axis", 7)
    assert "--report: " in refused(source, "-k", 2, "--report", tmp_path / "a.htm")
    assert "ends in .png" in refused(source, "-k", 2, "--dither")
    assert "ends in .png" in refused(source, "-k", 2, "--dither", "-o", tmp_path / "a.tif")
