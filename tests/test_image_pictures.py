"""Images in few colours are shown as they are: pictures, dithering and the report."""

import base64
import io
import json

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from matplotlib.figure import Figure
from pages import Parsed, words
from PIL import Image
from plots import misplaced, render
from sklearn.datasets import load_sample_image

from dkmeans import plot
from dkmeans.cli import cli
from dkmeans.data.image_source import PREVIEW, open_image
from dkmeans.errors import DataError, MemoryLimitError, OutputError
from dkmeans.image import quantize
from dkmeans.plot.image_report import image_report
from dkmeans.plot.looks import MOST, Look

PHOTO = np.ascontiguousarray(load_sample_image("china.jpg")[::4, ::4])
FADING = np.tile(np.linspace(0, 255, PHOTO.shape[1]).astype(np.uint8), (len(PHOTO), 1))
IMAGES = {
    "rgb": PHOTO,
    "grey": PHOTO[:, :, 1],
    "rgba": np.dstack([PHOTO, FADING]),
    "pixel": PHOTO[:1, :1],
    "tall": PHOTO[:, :2],
    "grey of 16 bits": PHOTO[:60, :60, 1].astype(np.uint16) * 200,
    "five bands": np.dstack([PHOTO, PHOTO])[:60, :60, :5] / 255,
}


@pytest.fixture(scope="module")
def found():
    """Each image in 1, 2 and 40 colours, or in as many as it has."""
    with pytest.warns(match="fewer distinct colours"):
        return {name: quantize(image, [1, 2, 40], random_state=0) for name, image in IMAGES.items()}


def pictures(figure):
    """What the panels show, (height, width, 4) each."""
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes]


def test_panels_are_the_image_and_itself_in_few_colours(found):
    figure = plot.quantization(found["rgb"])
    original, *others = pictures(figure)
    np.testing.assert_array_equal(original[:, :, :3], PHOTO)
    for one, shown in zip(found["rgb"].values(), others, strict=True):
        np.testing.assert_array_equal(shown[:, :, :3], one.image)
        assert (shown[:, :, 3] == 255).all()
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:2] == ["original", f"1 colour, PSNR {found['rgb'][1].psnr:.2f} dB"]
    single = found["rgb"][40].plot(theme="dark")
    np.testing.assert_array_equal(pictures(single)[1][:, :, :3], found["rgb"][40].image)


def test_panels_keep_alpha_and_leave_out_what_takes_no_part(found):
    original, _, two, _ = pictures(plot.quantization(found["rgba"]))
    np.testing.assert_array_equal(original, IMAGES["rgba"])
    np.testing.assert_array_equal(two[:, 1:], found["rgba"][2].image[:, 1:])
    assert (two[:, 0, 3] == 0).all()
    holes = np.array([[[1.0], [np.nan]], [[3.0], [50.0]]])
    figure = plot.quantization(quantize(holes, 2, random_state=0))
    assert [p[:, :, 3].tolist() for p in pictures(figure)] == [[[255, 0], [255, 255]]] * 2


def test_values_that_are_no_bytes_are_stretched(found):
    one = found["five bands"][40]
    look = Look.of(one)
    assert look.bands == (0, 1, 2)
    low, high = np.percentile(IMAGES["five bands"][:, :, :3].reshape(-1, 3), [1, 99], axis=0)
    np.testing.assert_allclose([look.low, look.high], [low, high])
    assert look.rgb(np.stack([np.zeros(5) - 9, np.ones(5) * 9])).tolist() == [[0] * 3, [255] * 3]
    grey = Look.of(found["grey of 16 bits"][2])
    assert np.ptp(grey.rgb(np.array([[30_000]])), axis=1).tolist() == [0]
    wide = quantize(PHOTO[:20, :20].astype(np.uint16) * 9, 2, random_state=0)
    assert len(set(Look.of(wide).low)) == len(set(Look.of(wide).high)) == 1


@pytest.mark.parametrize(("name", "theme"), [*((n, "light") for n in IMAGES), ("rgba", "dark")])
def test_pictures_of_every_image(found, name, theme):
    several = found[name]
    assert misplaced(plot.quantization(several, theme=theme)) == []
    for one in several.values():
        ax = plot.palette(one, theme=theme)
        assert misplaced(ax.figure) == []
        if one.palette.shape[1] >= 3:
            assert misplaced(plot.color_cloud(one, theme=theme).figure) == []


def test_bars_are_the_shares_in_their_colours(found):
    one, own = found["rgb"][2], Figure().subplots()
    assert plot.palette(one, ax=own) is own
    np.testing.assert_allclose([bar.get_width() for bar in own.patches], one.shares)
    fills = [np.round(255 * np.array(bar.get_facecolor()[:3])).tolist() for bar in own.patches]
    assert fills == one.palette.tolist()
    assert [t.get_text() for t in own.get_yticklabels()] == list(one.hex)
    assert [t.get_text() for t in own.texts] == [f"{share:.1%}" for share in one.shares]
    many = plot.palette(found["rgb"][40])
    np.testing.assert_allclose([bar.get_height() for bar in many.patches], found["rgb"][40].shares)
    values = plot.palette(found["five bands"][2]).get_yticklabels()
    assert all(t.get_text().endswith(", …") and t.get_text().count(",") == 3 for t in values)


@pytest.mark.parametrize("space", ["srgb", "lab"])
def test_a_cloud_has_distinct_colours_and_the_centers(space):
    one = quantize(PHOTO[:20, :30], 5, space=space, random_state=0)
    ax = plot.color_cloud(one)
    dots, centers = (np.stack(c._offsets3d, axis=1) for c in ax.collections)
    np.testing.assert_allclose(centers, one.centers)
    distinct = np.unique(PHOTO[:20, :30].reshape(-1, 3), axis=0)
    assert dots.shape == distinct.shape
    if space == "srgb":
        np.testing.assert_array_equal(np.unique(dots, axis=0), distinct)
    assert ax.get_xlabel() == {"srgb": "red", "lab": "L*"}[space]


def test_the_dots_of_a_cloud_are_bounded_and_the_same_again(found, monkeypatch):
    monkeypatch.setattr("dkmeans.plot.colors._DOTS", 50)
    first, again = (
        np.stack(plot.color_cloud(found["rgb"][2]).collections[0]._offsets3d) for _ in range(2)
    )
    assert first.shape == (3, 50)
    np.testing.assert_array_equal(first, again)


def test_what_cannot_be_drawn_is_said(found):
    with pytest.raises(DataError, match="a cloud of colours needs three bands, and the image has"):
        plot.color_cloud(found["grey"][2])
    with pytest.raises(ValueError, match="ax must be in three dimensions"):
        plot.color_cloud(found["rgb"][2], ax=Figure().subplots())
    with pytest.raises(DataError, match="no number of colours to draw"):
        plot.quantization({})
    with pytest.raises(ValueError, match="theme must be"):
        plot.palette(found["rgb"][2], theme="grey")


def test_some_of_many_numbers_are_drawn():
    many = quantize(PHOTO[:9, :9], range(1, 41), random_state=0)
    titles = [ax.get_title(loc="left") for ax in plot.quantization(many).axes]
    assert len(titles) == MOST + 1
    assert titles[1].startswith("1 colour,")
    assert titles[-1].startswith("40 colours,")


def wide_image(kind, folder):
    """An image of more pixels than a preview has, in some kind of storage, and as an array."""
    image = np.random.default_rng(0).integers(0, 9, (60, 3 * PREVIEW + 1, 3)).astype(np.uint8)
    if kind == "dask":
        return da.from_array(image, chunks=(7, 100, 2)), image
    if kind == "zarr":
        zarr.create_array(folder / "a.zarr", data=image, chunks=(13, 50, 3))
        return folder / "a.zarr", image
    planes = {"planarconfig": "separate"} if kind == "planes" else {}
    pixels = np.moveaxis(image, 2, 0) if planes else image
    path = folder / "a.tif"
    tile = {} if kind == "strips" else {"tile": (32, 32), "compression": "zlib"}
    tifffile.imwrite(path, pixels, photometric="rgb", **tile, **planes)
    return path, image


@pytest.mark.parametrize("kind", ["dask", "zarr", "tiles", "strips", "planes"])
def test_a_preview_is_every_nth_pixel(kind, tmp_path):
    source, image = wide_image(kind, tmp_path)
    preview = open_image(source).preview
    assert preview.shape == (15, 541, 3)
    np.testing.assert_array_equal(preview, image[::4, ::4])


def test_pictures_share_one_read_of_the_pixels(computes):
    found = quantize(da.from_array(PHOTO, chunks=(40, 50, 3)), [2, 3], random_state=0)
    assert computes.computes == 1
    for theme in ("light", "dark"):
        render(plot.quantization(found, theme=theme))
        plot.color_cloud(found[2], theme=theme)
    assert computes.computes == 2


# dithering


@pytest.mark.parametrize("bands", [1, 3])
def test_dithering_keeps_the_mean_of_an_area_with_only_the_colours(tmp_path, bands):
    image = np.zeros((64, 64, bands), np.uint8)
    image[:, 32:] = 255
    image[20:44, 20:44] = 128  # which k-means joins with white
    one = quantize(image, 2, random_state=0)
    assert one.palette[:, 0].tolist() == [224, 0]
    one.write(tmp_path / "d.png", labels=tmp_path / "l.zarr", dither=True)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "l.zarr")[:], one.labels)
    with Image.open(tmp_path / "d.png") as picture:
        assert picture.mode == "P"
        seen = np.asarray(picture.convert("RGB"))
    assert np.unique(seen.reshape(-1, 3), axis=0).tolist() == [[0] * 3, [224] * 3]
    assert np.unique(one.image[20:44, 20:44]).tolist() == [224]
    assert abs(seen[20:44, 20:44].mean() - 128) < 10


def test_dithering_is_the_same_from_any_chunks(tmp_path, found):
    found["rgb"][2].write(tmp_path / "a.png", dither=True)
    tiles = quantize(da.from_array(PHOTO, chunks=(30, 33, 1)), 2, random_state=0)
    tiles.write(tmp_path / "b.png", dither=True, threads=1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_cannot_be_dithered_is_refused_before_any_output(tmp_path, found):
    message = (
        r"dithering is for a \.png with a palette of up to 256 colours of 8 bits without alpha"
    )
    with pytest.raises(OutputError, match=message + ".* 3 bands of uint8 with alpha$"):
        found["rgba"][2].write(tmp_path / "a.png", dither=True)
    with pytest.raises(OutputError, match=message + ".*; asked for was .*a.tif"):
        found["rgb"][2].write(tmp_path / "a.tif", dither=True)
    with pytest.raises(OutputError, match=message):
        found["grey of 16 bits"][2].write(tmp_path / "a.png", dither=True)
    with pytest.raises(OutputError, match=message):
        found["rgb"][2].write(labels=tmp_path / "l.zarr", dither=True)
    small = type(found["rgb"][2])(found["rgb"][2].found, found["rgb"][2].source, "100 kB")
    with pytest.raises(MemoryLimitError, match=r"in memory, 183.91 kiB, and memory_limit is 97.66"):
        small.write(tmp_path / "a.png", labels=tmp_path / "l.zarr", dither=True)
    assert list(tmp_path.iterdir()) == []


# the report


@pytest.fixture(scope="module")
def page(tmp_path_factory, found):
    """Path of the report of a photo in three numbers of colours."""
    path = tmp_path_factory.mktemp("image") / "report.html"
    image_report(found["rgb"], path, seconds=1.25)
    return path


def embedded(parsed):
    images = [v for tag, name, v in parsed.attributes if (tag, name) == ("img", "src")]
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(i.partition(",")[2]))).convert("RGB"))
        for i in images
    ]


def test_a_report_shows_errors_images_and_palettes(page, found):
    parsed = Parsed(page)
    table = words(parsed.texts["result"])
    for k, one in found["rgb"].items():
        assert f"{k} {one.mse:.6g} {one.psnr:.2f}" in table
        assert f"{one.compression_ratio:.1f} {one.seconds:.2f}" in table
        palettes = words(parsed.texts["palettes"])
        for name, share, size in zip(one.hex, one.shares, one.found.sizes, strict=True):
            assert f"{name} {share:.2%} {size:,}" in palettes
    original, *others = embedded(parsed)
    np.testing.assert_array_equal(original, PHOTO)
    for one, shown in zip(found["rgb"].values(), others, strict=False):
        np.testing.assert_array_equal(shown, one.image)
    cost = words(parsed.texts["cost"])
    assert "Passes to find the colours 1 Seconds 1.25, passes and all searches" in cost
    assert "Peak memory" in cost


def test_a_report_needs_nothing_from_elsewhere(page):
    parsed = Parsed(page)
    links = [v for _, name, v in parsed.attributes if name in ("src", "href", "srcset", "data")]
    assert len(links) == 6  # original, three k, the cloud in both themes
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert all(v for tag, name, v in parsed.attributes if (tag, name) == ("img", "alt"))
    text = page.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_a_report_scores_in_both_spaces(tmp_path):
    one = quantize(PHOTO[:40, :40], 3, space="oklab", random_state=0, memory_limit="1 GiB")
    one.report(tmp_path / "r.html")
    parsed = Parsed(tmp_path / "r.html")
    text = words(parsed.texts["result"])
    assert "MSE in sRGB PSNR, dB MSE in Oklab" in text
    assert f"3 {one.mse:.6g} {one.psnr:.2f} {one.space_mse:.6g}" in text
    assert one.space_mse == pytest.approx(one.inertia / (3 * 1600))
    assert "Memory limit 1 GiB" in words(parsed.texts["cost"])


@pytest.mark.parametrize("name", [n for n in IMAGES if n != "rgb"])
def test_reports_of_every_image(found, name, tmp_path):
    image_report(found[name], tmp_path / "r.html")
    parsed = Parsed(tmp_path / "r.html")
    assert len(embedded(parsed)) == (4 if name.startswith("grey") else 6)
    for one in found[name].values():
        assert f"{one.found.sizes[0]:,}" in words(parsed.texts["palettes"])


def test_names_of_files_stay_text(tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(PHOTO[:8, :8]).save(path)
    quantize(path, 2, random_state=0).report(tmp_path / "r.html")
    parsed = Parsed(tmp_path / "r.html")
    assert [n for _, n, _ in parsed.attributes if n.startswith("on")] == []
    assert path.name in words(parsed.texts["how"])


def test_the_report_of_the_command(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    report = tmp_path / "r.html"
    options = ["--k-list", "2,3", "-o", str(tmp_path / "o.png"), "--dither", "--seed", "0"]
    args = ["image", str(tmp_path / "a.png"), *options, "--report", str(report)]
    done = CliRunner().invoke(cli, [*args, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["report"] == str(report)
    text = words(Parsed(report).texts["result"])
    for line in told["k"]:
        assert f"{line['k']} {line['mse']:.6g}" in text
        assert line["space_mse"] == pytest.approx(line["inertia"] / PHOTO.size)
    refused = CliRunner().invoke(cli, args)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_a_phone_and_a_desk(opened, page, found, width, scheme):
    tab = opened(page, width, scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    shown = "all => all.map(i => i.clientWidth).filter(w => w > 0)"
    widths = tab.eval_on_selector_all(".gallery img", shown)
    assert len(widths) == 4
    assert min(widths) >= 200
    strips = tab.eval_on_selector_all(".strip", "all => all.map(s => s.children.length)")
    assert strips == [1, 2, 40]
    wide = "all => [...all[1].children].map(i => i.getBoundingClientRect().width)"
    first, second = tab.eval_on_selector_all(".strip", wide)
    assert first / (first + second) == pytest.approx(found["rgb"][2].shares[0], abs=0.01)


def test_the_examples_of_the_docstrings():
    import doctest

    from dkmeans.plot import colors

    assert doctest.testmod(colors).failed == 0
