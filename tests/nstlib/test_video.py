"""A video is converted frame by frame, with its sound, and goes on after an interruption."""

import itertools
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from nstlib import video
from nstlib.anime import sample_clip
from nstlib.images import ImageError
from nstlib.video import EXACT, convert_video, decode_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    sample_clip(path)
    return path


def frames_of(path):
    return np.stack(list(decode_video(path, "video", f"scale=flags=bicubic+{EXACT},format=rgb24"))).astype(float)


def streams(path):
    """What ffmpeg says of a file's streams."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return [line for line in text.splitlines() if "Stream #" in line]


def make(path, *arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments), str(path)], check=True)
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_every_frame_is_converted_and_keeps_its_place(clip, tmp_path, ending):
    out = tmp_path / f"out.{ending}"
    convert_video(clip, out, lambda image: 1 - image, progress=False)
    before, after = frames_of(clip), frames_of(out)
    assert after.shape == before.shape == (120, 256, 256, 3)
    assert np.abs(255 - before - after).mean() < 4
    assert abs((255 - before - after).mean()) < 0.5  # no tint, no change of range
    assert "12 fps" in streams(out)[0]
    assert list(tmp_path.iterdir()) == [out]


def test_the_size_may_change_and_becomes_even(clip, tmp_path):
    out = tmp_path / "out.mp4"
    convert_video(clip, out, lambda image: image[:, :, :101, :63], progress=False)
    assert frames_of(out).shape == (120, 100, 62, 3)


def test_the_sound_is_kept(clip, tmp_path):
    loud = make(tmp_path / "loud.mkv", "-i", clip, "-f", "lavfi", "-i", "sine=440:duration=10", "-c:v", "copy", "-c:a", "flac")
    convert_video(loud, tmp_path / "out.mp4", lambda image: image, progress=False)
    picture, sound = streams(tmp_path / "out.mp4")
    assert "h264" in picture
    assert "Audio: aac" in sound


def test_an_uneven_pace_keeps_the_length(clip, tmp_path):
    """One second at full pace, then nine in which nothing moves, as screen recordings have them."""
    pace = [
        "-vf",
        "setpts='if(lt(N,12),N/12,N-11)/TB'",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:1000",
        "-frames:v",
        "20",
    ]
    uneven = make(tmp_path / "uneven.mkv", "-i", clip, *pace)
    convert_video(uneven, tmp_path / "out.mp4", lambda image: image, progress=False)
    seconds = [imageio_ffmpeg.count_frames_and_secs(str(path))[1] for path in (uneven, tmp_path / "out.mp4")]
    assert seconds[1] == pytest.approx(seconds[0], abs=1)


def test_an_interrupted_video_goes_on_and_becomes_the_same(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "PART_SECONDS", 2)  # five parts of 24 frames
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    convert_video(clip, whole, lambda image: 1 - image, progress=False)
    seen = []

    def convert(image):
        if len(seen) == 60:
            raise KeyboardInterrupt
        seen.append(image)
        return 1 - image

    with pytest.raises(KeyboardInterrupt):
        convert_video(clip, cut, convert, progress=False)
    assert not cut.exists()
    again = []
    convert_video(clip, cut, lambda image: again.append(1) or 1 - image, progress=False)
    assert len(again) == 1 + 120 - 48, "the first frame, to compare, and what was not written yet"
    assert np.array_equal(frames_of(whole), frames_of(cut))
    assert sorted(tmp_path.iterdir()) == [cut, whole]


def test_a_recurrent_conversion_sees_what_it_gave_before_even_when_interrupted(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "PART_SECONDS", 2)
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    given = []

    def follow(image, before):
        blend = image if before is None else 0.25 * image + 0.75 * before
        given.append((before, (blend.clamp(0, 1) * 255).round() / 255))
        return blend

    convert_video(clip, whole, follow, recurrent=True, progress=False)
    assert given[0][0] is None
    for (_, gave), (before, _) in itertools.pairwise(given):
        assert torch.allclose(before, gave, atol=1e-6)

    calls = []

    def interrupted(image, before):
        calls.append(before)
        if len(calls) == 60:
            raise KeyboardInterrupt
        return follow(image, before)

    with pytest.raises(KeyboardInterrupt):
        convert_video(clip, cut, interrupted, recurrent=True, progress=False)
    convert_video(clip, cut, follow, recurrent=True, progress=False)
    assert np.array_equal(frames_of(whole), frames_of(cut))
    assert sorted(tmp_path.iterdir()) == [cut, whole]


def test_a_half_written_part_that_a_kill_left_behind_does_not_get_in(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "PART_SECONDS", 2)
    out = tmp_path / "out.mp4"

    def killed(*arguments):
        (tmp_path / ".out.mp4.parts" / ".nstlib-half.mp4").write_bytes(clip.read_bytes())
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(video, "_join", killed)
        with pytest.raises(KeyboardInterrupt):
            convert_video(clip, out, lambda image: 1 - image, progress=False)
    convert_video(clip, out, lambda image: 1 - image, progress=False)
    assert len(frames_of(out)) == 120
    assert list(tmp_path.iterdir()) == [out]


def test_parts_of_another_conversion_are_made_anew(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "PART_SECONDS", 2)
    out, seen = tmp_path / "out.mp4", []

    def convert(image):
        seen.append(image)
        if len(seen) > 60:
            raise KeyboardInterrupt
        return image * 0

    with pytest.raises(KeyboardInterrupt):
        convert_video(clip, out, convert, progress=False)
    convert_video(clip, out, lambda image: 1 - image, progress=False)
    assert np.abs(255 - frames_of(clip) - frames_of(out)).mean() < 4


@pytest.mark.parametrize(
    ("target", "message"),
    [("out.gif", "must end in one of .mp4, .mkv, .mov"), ("nowhere/out.mp4", "there is no such folder")],
)
def test_a_target_that_cannot_be_written_is_refused_before_the_work(clip, tmp_path, target, message):
    with pytest.raises(ImageError, match=message):
        convert_video(clip, tmp_path / target, pytest.fail, progress=False)


def test_what_is_no_video_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video" * 100)
    for source in (text, tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(ImageError, match=source.name):
            convert_video(source, tmp_path / "out.mp4", lambda image: image, progress=False)
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_cut_short_is_refused_and_nothing_is_written(clip, tmp_path):
    broken = make(tmp_path / "whole.mkv", "-i", clip, "-c", "copy")
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(ImageError, match="damaged or cut short"):
        convert_video(broken, tmp_path / "out.mp4", lambda image: image, progress=False)
    assert not (tmp_path / "out.mp4").exists()


def test_a_conversion_that_gives_no_image_is_refused(clip, tmp_path):
    with pytest.raises(ImageError, match="NaN"):
        convert_video(clip, tmp_path / "out.mp4", lambda image: image * torch.nan, progress=False)
    with pytest.raises(ImageError, match="expected"):
        convert_video(clip, tmp_path / "out.mp4", lambda image: None, progress=False)
