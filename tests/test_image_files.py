"""Images that are written as others read them, and files that are read or refused."""

import json

import dask.array as da
import numpy as np
import pytest
import zarr
from photo import HEIGHT, PHOTO, WIDTH, few_colors, pillow, rgba, tifffile, written

import dkmeans
from dkmeans.data import image_source
from dkmeans.data.image_source import open_image
from dkmeans.errors import DataError, MemoryLimitError, MissingExtraError, OutputError, SourceError
from dkmeans.image import quantize


@pytest.fixture(scope="module")
def found():
    """The photo in 2, 8 and 300 colours."""
    return few_colors()


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
    lines = (tmp_path / "p.gpl").read_text().partition("#\n")[2].splitlines()
    assert [[int(value) for value in line.split()[:3]] for line in lines] == one.palette.tolist()
    from PIL.GimpPaletteFile import GimpPaletteFile

    with open(tmp_path / "p.gpl", "rb") as file:
        colors, mode = GimpPaletteFile(file).getpalette()
    assert mode == "RGB"
    assert one.palette.tobytes() in colors  # at their beginning, but for old versions of Pillow
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


@pytest.mark.parametrize("outputs", [{"image": "a.png", "labels": "l.zarr"}, {"labels": "l.zarr"}])
def test_a_file_torn_before_it_is_written_leaves_nothing(tmp_path, monkeypatch, outputs):
    monkeypatch.setattr(image_source, "BLOCK_BYTES", 10_000)
    path = written(tmp_path, "tif-tiles")
    found = quantize(path, 2, random_state=0)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(SourceError, match="cannot read lines"):
        found.write(**{what: tmp_path / name for what, name in outputs.items()})
    assert list(tmp_path.iterdir()) == [path]


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
