"""Images on the command line."""

import json

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from photo import PHOTO, few_colors, pillow, written

from dkmeans.cli import cli


@pytest.fixture(scope="module")
def found():
    """The photo in 2, 8 and 300 colours."""
    return few_colors()


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
