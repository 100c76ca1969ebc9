"""Images in few colours: exact, and the same from every format."""

import math
import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from naive import assign, sq_to_own
from photo import HEIGHT, KINDS, PHOTO, WIDTH, few_colors, pillow, rgba, written
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning

from dkmeans.engine.color_spaces import from_srgb
from dkmeans.image import quantize


@pytest.fixture(scope="module")
def found():
    """The photo in 2, 8 and 300 colours."""
    return few_colors()


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


def test_a_result_says_what_it_is(found):
    assert repr(found[2]) == (
        f"<Quantized: 2 colours for {HEIGHT} x {WIDTH} pixels of an array, MSE {found[2].mse:.5g}>"
    )


def test_a_result_can_be_sent(found):
    again = pickle.loads(pickle.dumps(found[2]))
    np.testing.assert_array_equal(again.labels, found[2].labels)
