"""Any folder or video gives frames, split by whole scenes, or ImageError."""

import itertools
import os
import pickle
import re
import signal
import subprocess
import warnings
from contextlib import closing
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from nstlib.anime import Shot, render
from nstlib.assets import asset_path
from nstlib.frames import (
    CUT,
    DUPLICATE,
    GAP,
    THUMBNAIL,
    FrameFolder,
    PairFolder,
    VideoFrames,
    frame_and_thumbnail,
    frames_and_thumbnails,
    middle_square,
    split_scenes,
)
from nstlib.images import ImageError, load_image


def to_array(picture):
    return np.asarray(picture).astype(float)


def assert_is_frame(frame, size):
    assert frame.dtype == torch.float32
    assert frame.shape == (3, *size)
    assert frame.min() >= 0
    assert frame.max() <= 1


# --- split_scenes ----------------------------------------------------------------------------------------------------


def show(*lengths, step=0.02, seed=0):
    """Thumbnails of scenes of so many frames; each scene has its own color, far from the others, and moves a little."""
    generator = torch.Generator().manual_seed(seed)
    scenes = []
    for place, length in enumerate(lengths):
        scene = (torch.rand(1, 8, 8, 3, generator=generator) > 0.5) * 0.6 + 0.1
        scene = scene + step * torch.arange(length).view(-1, 1, 1, 1) / 2 * (1 if place % 2 else -1)
        scenes.append(scene)
    return torch.cat(scenes)


def ranges(*lengths):
    ends = [0, *itertools.accumulate(lengths)]
    return [list(range(*pair)) for pair in itertools.pairwise(ends)]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_whole_scenes_are_shared_out(share, seed):
    lengths = np.random.default_rng(seed).integers(1, 12, 40).tolist()
    sides = split_scenes(show(*lengths, step=0.021, seed=seed), share)
    assert sorted(sides["train"] + sides["test"]) == ranges(*lengths)
    assert all(side == sorted(side) for side in sides.values())
    assert sum(map(len, sides["test"])) == pytest.approx(share * sum(lengths), abs=max(lengths))
    # spread over the show: each half has its share
    half = sum(lengths) / 2
    for first in (True, False):
        count = sum((index < half) == first for scene in sides["test"] for index in scene)
        assert count == pytest.approx(share * half, abs=2 * max(lengths))
    assert split_scenes(show(*lengths, step=0.021, seed=seed), share) == sides


@pytest.mark.parametrize("lengths", [(60,), (30, 30), (55, 1, 4)], ids=str)
def test_too_few_scenes_are_divided_in_time(lengths):
    sides = split_scenes(show(*lengths, step=0.025), 0.2)
    train, test = ([index for scene in sides[side] for index in scene] for side in ("train", "test"))
    assert test == list(range(48, 60))
    assert train == list(range(48 - GAP))
    for side in sides.values():  # still scene by scene
        assert all(any({*scene} <= {*whole} for whole in ranges(*lengths)) for scene in side)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_the_shortest_show_that_can_be_divided(share):
    sides = split_scenes(show(GAP + 2), share)
    assert sides == {"train": [[0]], "test": [[GAP + 1]]}
    with pytest.raises(ImageError, match=rf" {GAP + 1};.* {GAP + 2} "):
        split_scenes(show(GAP + 1), share)


def test_training_has_no_near_duplicate_of_a_test_frame():
    pixels = show(*[10] * 10)
    sides = split_scenes(pixels, 0.2)
    tested = sides["test"][0]
    # the show cuts back to the test scene's first half; the rest is as it was
    again = sides["train"][-1]
    pixels[again[:5]] = pixels[tested[:5]] + DUPLICATE / 2
    repeated = split_scenes(pixels, 0.2)
    assert repeated["test"] == sides["test"]
    assert repeated["train"] == [*sides["train"][:-1], again[5:]]
    # and where the whole scene is a repetition, nothing of it is left
    pixels[again] = pixels[tested]
    assert split_scenes(pixels, 0.2)["train"] == sides["train"][:-1]


def test_a_show_that_only_repeats_itself_cannot_be_split():
    with pytest.raises(ImageError, match="near-duplicate"):
        split_scenes(show(1, 1).repeat(20, 1, 1, 1), 0.2)


@pytest.mark.parametrize(("difference", "scenes"), [(CUT - 0.004, 1), (CUT + 0.004, 5)])
def test_a_cut_is_a_difference_of_cut(difference, scenes):
    """Five times eight frames that grow lighter, a little each frame and by ``difference`` after each eighth."""
    steps = torch.full((40,), 0.012)
    steps[[8, 16, 24, 32]] = difference
    sides = split_scenes(steps.cumsum(0).view(-1, 1, 1, 1).expand(-1, 8, 8, 3), 0.2)
    if scenes == 5:
        assert sides["test"] == [list(range(16, 24))]
    else:
        assert sides == {"train": [list(range(32 - GAP))], "test": [list(range(32, 40))]}


@pytest.mark.parametrize(("difference", "kept"), [(DUPLICATE - 0.001, False), (DUPLICATE + 0.001, True)])
def test_a_near_duplicate_differs_by_less_than_duplicate(difference, kept):
    pixels = show(*[10] * 10, step=0.05)
    sides = split_scenes(pixels, 0.2)
    first = sides["train"][0][0]
    pixels[first] = pixels[sides["test"][0][0]] - difference
    assert any(first in scene for scene in split_scenes(pixels, 0.2)["train"]) == kept


# --- a clip of known scenes ------------------------------------------------------------------------------------------

FPS, HELD = 12, 2  # each drawing is shown twice
DRAWINGS = [8, 5, 9, 6, 8, 7, 9, 8]  # of each scene: 120 pictures, 10 seconds
OF_SCENE = [scene for scene, length in enumerate(DRAWINGS) for _ in range(length)]
PLACES = list(itertools.product((320, 800), ("club", "meadow", "uni", "lecturehall")))
CAST = {
    "club": "sylvie-blue-giggle",
    "meadow": "eileen-concerned",
    "uni": "lucy-mad",
    "lecturehall": "sylvie-green-normal",
}


def drawing(scene, number):
    """96 x 64 pixels; the camera moves past someone."""
    x, background = PLACES[scene]
    shot = Shot(background, ((CAST[background], x + 30),), (x + 12 * number, 300), 400, (scene % 2 == 0) == (x < 500))
    return np.array(render(shot, (64, 96)))


def write_video(path, pictures, fps=FPS, **options):
    height, width = pictures[0].shape[:2]
    options = {"macro_block_size": 1, "quality": 8, "ffmpeg_log_level": "error", **options}
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=fps, **options)
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()
    return path


@pytest.fixture(scope="module")
def drawings():
    return [drawing(scene, number) for scene, length in enumerate(DRAWINGS) for number in range(length)]


@pytest.fixture(scope="module")
def clip(drawings, tmp_path_factory):
    held = [picture for picture in drawings for _ in range(HELD)]
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", held)


@pytest.fixture(scope="module")
def folder(drawings, tmp_path_factory):
    """The same as pictures, named so that a plain sort would mix them up."""
    path = tmp_path_factory.mktemp("folder")
    for number, picture in enumerate(drawings):
        for take in range(HELD):
            PIL.Image.fromarray(picture).save(path / f"Frame{number * HELD + take}.png", compress_level=1)
    return path


@pytest.fixture
def processes(monkeypatch):
    """The processes that were started; all have to be over at the end."""
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    yield started
    assert all(process.returncode is not None for process in started)


def both(source):
    make = FrameFolder if source.is_dir() else VideoFrames
    return make(source, "train", 64), make(source, "test", 64)


@pytest.fixture(params=["clip", "folder"])
def source(request):
    return request.getfixturevalue(request.param)


def test_whole_scenes_are_set_aside(source, processes):
    train, test = both(source)
    assert sorted(train.numbers + test.numbers) == list(range(0, 120, HELD))  # one of each drawing, and every one
    assert len(test) == len(test.numbers) == 12  # a fifth of 60
    assert len(train) == len(train.numbers) == 48
    scenes = [[OF_SCENE[number // HELD] for number in side.numbers] for side in (train, test)]
    assert not {*scenes[0]} & {*scenes[1]}
    assert len({*scenes[1]}) > 1
    for side, numbers in zip((train, test), scenes, strict=True):
        assert [index for scene in side.scenes for index in scene] == list(range(len(side)))
        assert [len(scene) for scene in side.scenes] == [DRAWINGS[scene] for scene in dict.fromkeys(numbers)]
        assert all(len({numbers[index] for index in scene}) == 1 for scene in side.scenes)


def test_no_test_frame_is_like_a_training_frame(source):
    train, test = (F.avg_pool2d(torch.stack(list(side)), 8).flatten(1) for side in both(source))
    across = torch.cdist(train, test, p=1).min() / train.shape[1]
    neighbors = max((train[i] - train[i - 1]).abs().mean() for scene in both(source)[0].scenes for i in scene[1:])
    assert neighbors < 0.07 < across  # the test would see a neighbor


def test_frames_are_the_middle_of_the_drawings(source, drawings):
    for frames in both(source):
        for frame, number in zip(frames, frames.numbers, strict=True):
            assert_is_frame(frame, (64, 64))
            expected = torch.from_numpy(drawings[number // HELD][:, 16:80]).permute(2, 0, 1) / 255
            assert (frame - expected).abs().mean() < (0.03 if source.is_file() else 1e-6)


def test_the_split_does_not_depend_on_the_size(source):
    train, test = both(source)
    for size in (8, 27, 96):
        for split, frames in (("train", train), ("test", test)):
            other = type(frames)(source, split, size)
            assert_is_frame(other[0], (size, size))
            assert other.numbers == frames.numbers
            assert other.scenes == frames.scenes
    small = type(train)(source, size=16)
    assert (small.frames.float() - F.avg_pool2d(train.frames.float(), 4)).abs().mean() < 6


def test_thumbnails_do_not_depend_on_the_size(source):
    """Else a difference near a threshold could share out the frames differently."""
    thumbnails = []
    for size in (8, 27, 96):
        if source.is_file():
            pictures = frames_and_thumbnails(source, "clip", size)
        else:
            images = [load_image(file) for file in sorted(source.iterdir())[:20]]
            pictures = [frame_and_thumbnail(image, size) for image in images]
        thumbnails.append(np.stack([thumbnail for _, thumbnail in pictures]))
    assert thumbnails[0].shape[1:] == (8, 8, 3)
    assert np.array_equal(thumbnails[0], thumbnails[1])
    assert np.array_equal(thumbnails[0], thumbnails[2])


def test_test_share_is_followed(source):
    for share in (0.1, 0.5, 0.8):
        lengths = [len((FrameFolder if source.is_dir() else VideoFrames)(source, side, 8, share)) for side in ("train", "test")]
        assert sum(lengths) == 60
        assert lengths[1] == pytest.approx(60 * share, abs=6)


def test_opened_again_it_is_the_same(source):
    for first, second in zip(both(source), both(source), strict=True):
        assert torch.equal(first.frames, second.frames)
        assert first.frames.dtype == torch.uint8


def test_they_feed_training(source):
    frames = both(source)[1]
    batches = list(DataLoader(frames, batch_size=5, num_workers=1))
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert torch.equal(torch.cat(batches), torch.stack(list(frames)))
    copy = pickle.loads(pickle.dumps(frames))
    assert torch.equal(copy[3], frames[3])
    assert copy.scenes == frames.scenes
    assert torch.equal(frames[-1], frames[11])
    for index in (12, -13):
        with pytest.raises(IndexError, match=rf"\b12\b.* {index}$"):
            frames[index]


@pytest.mark.parametrize("make", [FrameFolder, VideoFrames])
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"split": "shots"}, "split"),
        ({"split": None}, "split"),
        ({"size": 7}, "size"),
        ({"size": 64.0}, "size"),
        ({"size": (64, 64)}, "size"),
        ({"test_share": 0}, "test_share"),
        ({"test_share": 1.0}, "test_share"),
        ({"test_share": -0.2}, "test_share"),
        ({"test_share": float("nan")}, "test_share"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(make, arguments, what):
    with pytest.raises(ValueError, match=f"^{what} ") as caught:
        make("missing", **arguments)
    assert not isinstance(caught.value, ImageError)


# --- VideoFrames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("webm", {"codec": "libvpx-vp9", "output_params": ["-deadline", "realtime", "-cpu-used", "8"]}),
        ("mkv", {}),
        ("avi", {"codec": "mpeg4"}),
        ("gif", {"codec": "gif", "pix_fmt_out": "rgb8"}),
    ],
)
def test_other_formats_are_read(ending, options, drawings, tmp_path, processes):
    path = write_video(tmp_path / f"clip.{ending}", drawings[:30], **options)
    frames = [frame for split in ("train", "test") for frame in VideoFrames(path, split, 64)]
    numbers = [number for split in ("train", "test") for number in VideoFrames(path, split).numbers]
    assert sorted(numbers) == list(range(30))
    for frame, number in zip(frames, numbers, strict=True):
        expected = torch.from_numpy(drawings[number][:, 16:80]).permute(2, 0, 1) / 255
        assert (frame - expected).abs().mean() < (0.12 if ending == "gif" else 0.04)


def test_every_frame_counts_once_at_any_pace(drawings, tmp_path):
    """Ten frames in 0.1 seconds, ten in 10 seconds, and so on: none is left out, none is repeated."""
    pace = "setpts='(floor(N/10)*10+mod(N,10)*if(mod(floor(N/10),2),1,0.01))/TB'"
    options = {"output_params": ["-vf", pace, "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]}
    path = write_video(tmp_path / "uneven.mkv", drawings[:40], **options)
    assert [len(list(frames_and_thumbnails(path, "video", size))) for size in (8, 64)] == [40, 40]


@pytest.mark.parametrize(("scale", "pixels"), [(1, "yuv444p"), (4, "yuv420p")])
def test_colors_are_as_sharp_as_the_picture(scale, pixels, tmp_path):
    """Red and blue columns, one pixel each in the frame: where color is kept at half the width they turn purple."""
    stripes = np.zeros((64 * scale, 64 * scale, 3), np.uint8)
    place = np.arange(64 * scale) // scale % 2
    stripes[:, place == 0, 0] = stripes[:, place == 1, 2] = 255
    pictures = [np.roll(stripes, (k * scale, 0), (1, 0)) // (1 + k % 3) for k in range(GAP + 8)]
    path = write_video(tmp_path / "stripes.mp4", pictures, pix_fmt_out=pixels, quality=10)
    frames = VideoFrames(path, size=64)
    for frame, number in zip(frames, frames.numbers, strict=True):
        expected = PIL.Image.fromarray(pictures[number]).resize((64, 64), PIL.Image.Resampling.BICUBIC)
        assert np.abs(frame.permute(1, 2, 0).numpy() - to_array(expected) / 255).mean() < 0.03


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    """Pixels twice as wide as high: 64 x 64 of them are shown as 128 x 64, and the middle half is gray."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :16, 0] = picture[:, 48:, 2] = picture[:, 16:48] = 250
    pictures = [picture // 50 * (10 + k) for k in range(40)]
    path = write_video(tmp_path / "wide.mp4", pictures, output_params=["-vf", "setsar=2"])
    for frame in VideoFrames(path, size=64):
        assert (frame.amax(0) - frame.amin(0))[:, 4:-4].max() < 0.05
        assert frame[:, :, 4:-4].min() > 0.15


def test_a_single_scene_is_divided_in_time(tmp_path, processes):
    pictures = [drawing(0, number / 4) for number in range(160)]
    path = write_video(tmp_path / "scene.mp4", pictures)
    train, test = both(path)
    assert len(train.scenes) == len(test.scenes) == 1
    assert len(test) == pytest.approx(0.2 * (len(train) + len(test) + GAP), abs=1)
    assert train.numbers[0] == 0
    assert test.numbers[-1] > 155
    assert test.numbers[0] - train.numbers[-1] > GAP


def refusal(path, processes, make=VideoFrames):
    """The message with which a path is refused, for either split the same, with nothing left running."""
    messages = []
    for split in ("train", "test"):
        with pytest.raises(ImageError) as caught:
            make(path, split)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert os.fspath(path) in messages[0]
    assert "\n" not in messages[0]
    assert all(process.returncode is not None for process in processes)
    return messages[0]


def test_a_video_with_nothing_new_in_it_is_refused(tmp_path, drawings, processes):
    still = write_video(tmp_path / "still.mp4", drawings[:1] * 50)
    assert ": 1;" in refusal(still, processes)
    short = write_video(tmp_path / "short.mp4", drawings[:4])
    assert ": 4;" in refusal(short, processes)


def playlist(*lines):
    return ("\n".join(lines) + "\n").encode()


AFTER = re.compile(r"after \d+ frames")  # so many could be read

NO_VIDEOS = {
    "text.mp4": b"This is not a video.\n" * 50,
    "text.txt": b"ffmpeg would draw this letter by letter.\n" * 50,
    "zeros.mp4": bytes(5000),
    "random.webm": np.random.default_rng(0).bytes(5000),
    "endless.m3u8": playlist("#EXTM3U", "#EXT-X-TARGETDURATION:10", "#EXTINF:10,", "clip.ts"),  # waits for more to be added
    "list.mp4": playlist("ffconcat version 1.0", "file other.mp4"),
    "picture.png": asset_path("toronto").read_bytes(),
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_what_is_no_video_is_refused(name, tmp_path, clip, processes):
    (tmp_path / name).write_bytes(NO_VIDEOS[name])
    (tmp_path / "other.mp4").write_bytes(clip.read_bytes())
    message = refusal(tmp_path / name, processes)
    assert "(ffmpeg: " in message
    assert not AFTER.search(message)
    assert processes


@pytest.mark.parametrize("cover", [False, True])
def test_sound_is_refused(cover, tmp_path, processes):
    """With the picture of its cover, too."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1"]
    if cover:
        save(tmp_path / "cover.png", drawing(0, 0))
        command += [
            "-i",
            str(tmp_path / "cover.png"),
            "-map",
            "0",
            "-map",
            "1",
            "-c:v",
            "png",
            "-disposition:v",
            "attached_pic",
        ]
    subprocess.run([*command, str(tmp_path / "sound.m4a")], check=True)
    message = refusal(tmp_path / "sound.m4a", processes)
    assert "(ffmpeg: " in message
    assert not AFTER.search(message)


def test_what_is_no_file_is_refused(tmp_path, processes):
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    # reading a pipe would wait for ever
    names = ("missing.mp4", "empty.mp4/inside.mp4", "empty.mp4", "", "pipe.mp4", "n" * 5000)
    messages = {name: refusal(tmp_path / name, processes) for name in names}
    assert "empty" in messages["empty.mp4"].split(": ")[-1]
    assert "Errno" in messages["n" * 5000]
    for path in ("", "null\0.mp4"):
        with pytest.raises(ImageError, match=re.escape(repr(path))):
            VideoFrames(path)
    assert not processes


@pytest.mark.parametrize(
    ("ending", "options"),
    [("mp4", {}), ("mp4", {"output_params": ["-movflags", "+faststart"]}), ("mkv", {})],
    ids=["mp4", "mp4, index first", "mkv"],
)
@pytest.mark.parametrize("percent", [20, 90])
def test_a_video_cut_short_is_refused(ending, options, percent, drawings, tmp_path, processes):
    data = write_video(tmp_path / f"whole.{ending}", drawings, **options).read_bytes()
    (tmp_path / f"cut.{ending}").write_bytes(data[: len(data) * percent // 100])
    message = refusal(tmp_path / f"cut.{ending}", processes)
    assert AFTER.search(message) or "moov" in message


def test_a_damaged_video_is_refused(drawings, tmp_path, processes):
    path = write_video(tmp_path / "clip.mp4", drawings, output_params=["-movflags", "+faststart"])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 100] = bytes(255 - byte for byte in data[middle : middle + 100])
    path.write_bytes(data)
    assert AFTER.search(refusal(path, processes))


def test_ffmpeg_ends_when_reading_is_given_up(clip, processes, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "frombuffer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        VideoFrames(clip)
    monkeypatch.undo()
    assert len(processes) == 1
    assert processes[0].returncode == -signal.SIGKILL  # it was not left to notice


def test_ffmpeg_ends_when_the_iterator_is_closed(clip, processes):
    with closing(frames_and_thumbnails(clip, "clip", 512)) as pictures:  # more than fits into the pipe
        frame, thumbnail = next(pictures)
    assert (frame.shape, thumbnail.shape) == ((512, 512, 3), (THUMBNAIL, THUMBNAIL, 3))
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


# --- the middle square -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(4, 10, 0, 3), (10, 4, 3, 0), (5, 8, 0, 1), (8, 5, 1, 0), (6, 6, 0, 0)]
)
def test_the_middle_square_is_the_largest(height, width, top, left):
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    side = min(height, width)
    assert torch.equal(middle_square(image), image[:, :, top : top + side, left : left + side])


def test_frame_and_thumbnail_are_of_the_same_square():
    image = torch.zeros(1, 3, 32, 96)
    image[..., 32:64] = torch.tensor([1.0, 0.4, 0.0])[:, None, None]
    frame, thumbnail = frame_and_thumbnail(image, 16)
    for pixels, side in ((frame, 16), (thumbnail, THUMBNAIL)):
        assert pixels.dtype == np.uint8
        assert pixels.shape == (side, side, 3)
        assert np.array_equal(np.unique(pixels.reshape(-1, 3), axis=0), [[255, 102, 0]])


# --- FrameFolder -----------------------------------------------------------------------------------------------------


def save(path, picture):
    PIL.Image.fromarray(picture).save(path)
    return path


def test_files_are_in_natural_order(folder):
    train, test = both(folder)
    for frames in (train, test):
        assert [file.name for file in frames.files] == [f"Frame{number}.png" for number in frames.numbers]
        assert all(isinstance(file, Path) and file.parent == folder for file in frames.files)


def test_names_are_ordered_by_their_numbers(tmp_path, drawings):
    names = ["10 b.png", "9 a.png", "frame2.png", "Frame03.png", "frame3.png", "frame10.png", "frame10a.png", "frame10b2.png"]
    names = [*names[:2][::-1], *names[2:], "frame10b10.png", "titles.png"]
    for name, picture in sorted(zip(names, drawings[::6], strict=True)):
        save(tmp_path / name, picture)
    frames = [FrameFolder(tmp_path, split) for split in ("train", "test")]
    order = sorted(file.name for side in frames for file in side.files)
    assert order == sorted(names)
    by_number = sorted((number, file.name) for side in frames for number, file in zip(side.numbers, side.files, strict=True))
    assert [name for _, name in by_number] == names


def test_a_clip_and_its_pictures_are_split_alike(clip, folder):
    for video, pictures in zip(both(clip), both(folder), strict=True):
        assert video.numbers == pictures.numbers
        assert video.scenes == pictures.scenes


def test_hidden_files_and_folders_are_passed_over(tmp_path, drawings):
    for number in range(8):
        save(tmp_path / f"{number}.png", drawings[number * 7])
    (tmp_path / ".hidden.png").write_text("no picture")
    (tmp_path / ".inside").mkdir()
    save(tmp_path / ".inside" / "0.png", drawings[3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = [FrameFolder(tmp_path, split) for split in ("train", "test")]
    assert sum(map(len, frames)) == 8


def test_any_picture_gives_its_middle_square(tmp_path):
    """Wide, tall, small, large, transparent: the middle has one color, what is cut off is black."""
    shapes = [(40, 120), (120, 40), (41, 124), (300, 900), (10, 31), (900, 300), (64, 64)]
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 255)]
    for number, ((height, width), color) in enumerate(zip(shapes, colors, strict=True)):
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = np.zeros((height, width, 4), np.uint8)
        picture[..., 3] = 255
        picture[top : top + side, left : left + side, :3] = color
        picture[..., 3] -= (picture[..., :3].min(2) == 255) * np.uint8(255)  # the last is transparent, which is white
        save(tmp_path / f"{number}.png", picture)
    frames = [FrameFolder(tmp_path, split, 32) for split in ("train", "test")]
    found = {number: frame for side in frames for number, frame in zip(side.numbers, side, strict=True)}
    assert len(found) == len(colors)
    for number, frame in found.items():
        expected = torch.tensor(colors[number]).view(3, 1, 1).expand(3, 32, 32) / 255
        torch.testing.assert_close(frame, expected, rtol=0, atol=1e-6)


def test_resizing_is_antialiased(tmp_path):
    """Each pixel of noise at a twelfth of the size is a mean of a hundred."""
    rng = np.random.default_rng(0)
    for number, color in enumerate(itertools.product((0, 150), repeat=3)):
        noise = rng.integers(0, 100, (200, 240, 3)) + color
        save(tmp_path / f"{number}.png", noise.astype(np.uint8))
    frames = FrameFolder(tmp_path, size=16, test_share=0.5)
    assert max(frame.std((1, 2)).max() for frame in frames) < 0.02


def test_unreadable_files_are_skipped_with_one_warning(tmp_path, drawings):
    for number in range(8):
        save(tmp_path / f"{number}.png", drawings[number * 7])
    sound = [FrameFolder(tmp_path, split) for split in ("train", "test")]
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1a cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2a notes.txt").write_text("no picture")
    (tmp_path / "3a empty.png").touch()
    os.mkfifo(tmp_path / "4a pipe.png")
    (tmp_path / "5a gone.png").symlink_to(tmp_path / "missing.png")
    for split, before in zip(("train", "test"), sound, strict=True):
        with pytest.warns(RuntimeWarning) as caught:
            frames = FrameFolder(tmp_path, split)
        assert torch.equal(frames.frames, before.frames)
        assert frames.files == before.files
        assert len(caught) == 1
        assert caught[0].filename == __file__
        message = str(caught[0].message)
        assert repr(str(tmp_path)) in message
        assert "5 of 13 " in message
        assert "'1a cut.png', '2a notes.txt', '3a empty.png', ..." in message


def test_a_few_unreadable_files_are_all_named(tmp_path, drawings):
    for number in range(8):
        save(tmp_path / f"{number}.png", drawings[number * 7])
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.warns(RuntimeWarning, match=r"\b1 of 9 .* 'notes\.txt'$"):
        FrameFolder(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path, processes):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / ".hidden.png").touch()
    (empty / "inside").mkdir()
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    for name in ("a.png", "b.png"):
        (unreadable / name).write_text("no picture")
    for path, named in (
        (tmp_path / "missing", "missing"),
        (unreadable / "a.png", r"a\.png"),
        (empty, "empty"),
        (unreadable, r"unreadable': .*\b2 files .*a\.png"),
        (tmp_path / ("n" * 5000), "Errno"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message = refusal(path, processes, FrameFolder)
        assert re.search(named, message)
    for path in ("", "null\0"):
        with pytest.raises(ImageError, match=re.escape(repr(path))):
            FrameFolder(path)


def test_a_folder_of_one_picture_is_refused(tmp_path, drawings, processes):
    for number in range(20):
        save(tmp_path / f"{number}.png", drawings[0])
    assert ": 1;" in refusal(tmp_path, processes, FrameFolder)


# --- folders in folders, pairs ---------------------------------------------------------------------------------------


def test_folders_inside_are_gone_through_in_the_order_of_their_names(tmp_path, drawings):
    for number in range(30):
        place = tmp_path / f"episode {number // 10 + 8}"
        place.mkdir(exist_ok=True)
        save(place / f"{number % 10}.png", drawings[number])
    frames = [FrameFolder(tmp_path, split) for split in ("train", "test")]
    found = [str(file.relative_to(tmp_path)) for side in frames for file in side.files]
    assert len(found) == len(set(found)) > 15
    for side in frames:
        numbers = [(int(file.parent.name.split()[1]), int(file.stem)) for file in side.files]
        assert numbers == sorted(numbers), "8, 9, 10"
    assert {file.parent.name for side in frames for file in side.files} == {"episode 8", "episode 9", "episode 10"}


@pytest.fixture
def pairs(tmp_path, drawings):
    """Two folders: every fifth drawing has no line-art."""
    (tmp_path / "lines").mkdir()
    (tmp_path / "colors" / "inside").mkdir(parents=True)
    for number, picture in enumerate(drawings):
        save(tmp_path / "colors" / "inside" / f"frame {number}.png", picture)
        if number % 5:
            save(tmp_path / "lines" / f"frame {number}.jpg", 255 - to_array(picture).astype(np.uint8))
    return tmp_path / "lines", tmp_path / "colors"


def test_pairs_go_together_by_name(pairs):
    for split in ("train", "test"):
        with pytest.warns(RuntimeWarning):
            found = PairFolder(*pairs, split, size=32)
        alone = FrameFolder(pairs[1], split, size=32)
        assert len(found) == len(found.names) == sum(int(file.stem.split()[1]) % 5 != 0 for file in alone.files)
        by_name = {file.stem: frame for file, frame in zip(alone.files, alone, strict=True)}
        for i in range(len(found)):
            assert found[i].shape == (4, 32, 32)
            assert torch.equal(found[i][1:], by_name[found.names[i]])
            luma = (found[i][1:] * torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None]).sum(dim=0)
            assert (found[i][0] - (1 - luma)).abs().mean() < 0.05


def test_complete_pairs_warn_of_nothing(pairs):
    lines, colors = pairs
    for file in (colors / "inside").iterdir():
        if not (lines / f"{file.stem}.jpg").exists():
            (lines / file.name).write_bytes(file.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(PairFolder(lines, colors)) == len(FrameFolder(colors))


def test_folders_without_pairs_are_named(pairs, tmp_path):
    (tmp_path / "others").mkdir()
    save(tmp_path / "others" / "another.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ImageError, match=r"others.*colors"):
        PairFolder(tmp_path / "others", pairs[1])
    for lines, colors, named in ((tmp_path / "nowhere", pairs[1], "nowhere"), (pairs[0], tmp_path / "nowhere", "nowhere")):
        with pytest.raises(ImageError, match=named):
            PairFolder(lines, colors)


@pytest.mark.parametrize("path", [b"\x00" * 9999, torch.rand(99, 9), np.zeros((99, 9)), 7, None])
def test_data_in_a_paths_place_do_not_appear(tmp_path, path):
    for build in (FrameFolder, VideoFrames, lambda path: PairFolder(path, tmp_path), lambda path: PairFolder(tmp_path, path)):
        with pytest.raises(ImageError) as caught:
            build(path)
        assert len(str(caught.value)) < 500
