"""The command line paints and colors files, and says in one line what is wrong with them."""

import subprocess
import sys

import imageio_ffmpeg
import pytest
import torch

from nstlib.__main__ import main
from nstlib.anime import AnimeFrames, sample_clip
from nstlib.colorizer import Colorizer, ColorizerRecipe
from nstlib.images import load_image, save_image
from nstlib.reference import ReferenceColorizer, ReferenceRecipe
from nstlib.video import decode_video


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with three frames, one of them in a folder of its own, and a colorizer that takes no time."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "frames" / "second").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "second/c.webp")):
        save_image(AnimeFrames("train", 64, 3)[index][None], folder / "frames" / name)
    for condition in ("grayscale", "canny"):
        Colorizer(condition, 32, recipe=ColorizerRecipe(width=4)).save(folder / f"{condition}.safetensors")
    return folder


def test_stylize_writes_the_painting_beside_the_photo(pictures, tmp_path, capsys):
    photo, painting = tmp_path / "photo.png", pictures / "frames" / "b.jpg"
    photo.write_bytes((pictures / "frames" / "a.png").read_bytes())
    assert main(["stylize", str(photo), str(painting), "--size", "48", "--steps", "2"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'photo-stylized.png'}\n"
    assert load_image(tmp_path / "photo-stylized.png").shape == (1, 3, 48, 48)


def test_stylize_takes_every_option(pictures, tmp_path):
    frames = pictures / "frames"
    options = ["--size", "48", "--steps", "3", "--style-weight", "2", "--preserve-color", "--checkpoint", tmp_path / "run.pt"]
    assert (
        main([str(word) for word in ("stylize", frames / "a.png", frames / "b.jpg", "--out", tmp_path / "x.webp", *options)])
        == 0
    )
    assert (tmp_path / "x.webp").exists()
    assert (tmp_path / "run.pt").exists()


def test_colorize_writes_the_same_as_the_library(pictures, tmp_path):
    source, weights = pictures / "frames" / "a.png", pictures / "grayscale.safetensors"
    assert main(["colorize", str(source), "--out", str(tmp_path / "out.png"), "--colorizer", str(weights)]) == 0
    expected = Colorizer.load(weights).colorize_image(source)
    assert torch.allclose(load_image(tmp_path / "out.png"), expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("name", ["grayscale", "canny"])
def test_colorize_knows_the_colorizers_that_come_with_nstlib(pictures, tmp_path, name):
    source = pictures / "frames" / "a.png"
    assert main(["colorize", str(source), "--out", str(tmp_path / "out.png"), "--colorizer", name]) == 0
    assert load_image(tmp_path / "out.png").shape == (1, 3, 64, 64)


def test_a_drawing_keeps_its_ink(pictures, tmp_path):
    drawing = torch.ones(1, 3, 64, 64)
    drawing[..., 30:32, 8:56] = 0
    save_image(drawing, tmp_path / "drawing.png")
    options = ["--drawing", "--colorizer", str(pictures / "canny.safetensors")]
    assert main(["colorize", str(tmp_path / "drawing.png"), *options]) == 0
    assert load_image(tmp_path / "drawing-colorized.png")[..., 30:32, 20:40].max() < 0.1


def test_a_folder_is_colorized_into_another_and_goes_on_where_it_stopped(pictures, tmp_path, capsys):
    command = ["colorize", str(pictures / "frames"), "--out", str(tmp_path / "out")]
    command += ["--colorizer", str(pictures / "grayscale.safetensors")]
    assert main(command) == 0
    written = sorted((tmp_path / "out").rglob("*.png"))
    assert [str(path.relative_to(tmp_path / "out")) for path in written] == ["a.png", "b.png", "second/c.png"]
    times = [path.stat().st_mtime_ns for path in written]
    written[1].unlink()
    assert main(command) == 0
    assert written[1].exists()
    assert [path.stat().st_mtime_ns for path in (written[0], written[2])] == [times[0], times[2]]


def test_a_file_in_the_folder_that_is_no_picture_is_named_and_skipped(pictures, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    save_image(AnimeFrames("train", 64, 1)[0][None], tmp_path / "in" / "a.png")
    options = ["--colorizer", str(pictures / "grayscale.safetensors")]
    assert main(["colorize", str(tmp_path / "in"), *options]) == 0
    assert "skipped: " in (said := capsys.readouterr().err)
    assert "notes.txt" in said
    assert [path.name for path in (tmp_path / "in-colorized").iterdir()] == ["a.png"]


def test_a_clip_is_colorized(pictures, tmp_path):
    sample_clip(tmp_path / "clip.mp4")
    assert main(["colorize", str(tmp_path / "clip.mp4"), "--colorizer", str(pictures / "grayscale.safetensors")]) == 0
    frames = list(decode_video(tmp_path / "clip-colorized.mp4", "clip", "format=rgb24"))
    assert len(frames) == 120
    assert frames[0].shape == (256, 256, 3)


def test_with_a_key_frame_pictures_and_clips_take_its_colors(pictures, tmp_path):
    weights, key = tmp_path / "shown.safetensors", pictures / "frames" / "b.jpg"
    model = ReferenceColorizer("grayscale", 32, recipe=ReferenceRecipe(width=8, fold=2))
    model.save(weights)
    source, out = pictures / "frames" / "a.png", tmp_path / "out.png"
    command = ["--colorizer", str(weights), "--key-frame", str(key), "--out"]
    assert main(["colorize", str(source), *command, str(out)]) == 0
    expected = ReferenceColorizer.load(weights).colorize_image(source, reference=key)
    assert torch.allclose(load_image(out), expected, atol=0.5 / 255 + 1e-6)

    sample_clip(tmp_path / "clip.mp4")
    short = tmp_path / "short.mp4"
    trim = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "clip.mp4", "-frames:v", "3", short]
    subprocess.run(trim, check=True)
    assert main(["colorize", str(short), *command, str(tmp_path / "colored.mp4")]) == 0
    assert len(list(decode_video(tmp_path / "colored.mp4", "clip", "format=rgb24"))) == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("stylize missing.png {frames}/a.png", "missing.png': there is no such file"),
        ("stylize {frames}/a.png {frames}/b.jpg --out x.bmp", "the name must end in one of .png, "),
        ("stylize {frames}/a.png {frames}/b.jpg --size 0 --out {tmp}/x.png", "size must be a whole number of at least"),
        ("colorize missing.png", "there is no such file"),
        ("colorize {frames}/a.png --colorizer missing.safetensors", "there is no such file"),
        ("colorize {frames}/a.png --drawing --out {tmp}/x.png", "this model colors grayscale pictures"),
        ("colorize {frames}/a.png --out {tmp}/x.png --key-frame {frames}/b.jpg", "--key-frame needs a ReferenceColorizer"),
        ("colorize {frames}/a.png --out {tmp}/x.png --key-frame missing.png", "missing.png': there is no such file"),
        ("colorize {frames} --out {frames}/out", "lies in the folder that is colorized"),
        ("colorize {tmp}", "there are no files in this folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(pictures, tmp_path, monkeypatch, capsys, command, message):
    monkeypatch.chdir(tmp_path)
    assert main(command.format(frames=pictures / "frames", tmp=tmp_path).split()) == 1
    said = capsys.readouterr().err.strip()
    assert message in said
    assert said.startswith("nstlib: ")
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


def test_two_pictures_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for ending in ("png", "jpg"):
        save_image(torch.rand(1, 3, 16, 16), tmp_path / "in" / f"a.{ending}")
    assert main(["colorize", str(tmp_path / "in")]) == 1
    assert "would both become" in capsys.readouterr().err


def test_it_runs_as_a_module():
    run = subprocess.run([sys.executable, "-m", "nstlib", "--help"], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert "stylize" in run.stdout
    assert "colorize" in run.stdout
