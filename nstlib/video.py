"""Videos in and out, frame by frame, whatever their length. ffmpeg comes with imageio-ffmpeg."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, count, islice
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nstlib.files import atomic_write
from nstlib.images import ImageError, check_file, check_folder_of, load_image, save_image, to_uint8

# What ffmpeg may open. Without such a list it takes a text that names other files, or a playlist that never ends, for a video.
CONTAINERS = "mov,matroska,avi,flv,mpeg,mpegts,ogg,asf,gif"  # mov is mp4 too, matroska webm
WRITTEN = (".mp4", ".mkv", ".mov")
PART_SECONDS = 10
EXACT = "accurate_rnd+full_chroma_int"  # flags of ffmpeg's scale filter
# H.264 halves the chroma, so sides are even. Colors are those of HD video, and the file says so: else players guess.
EVEN = f"scale=trunc(iw/2)*2:trunc(ih/2)*2:out_color_matrix=bt709:flags=bicubic+{EXACT}"
H264 = ["-crf", "16", "-vf", EVEN, "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]


def decode_video(
    path: str | os.PathLike[str], name: str, filters: str, rate: float | None = None
) -> Generator[np.ndarray, None, None]:
    """The pictures of a video as (H, W, 3), RGB, uint8, in turn.

    ffmpeg ends when the iterator does or is closed.

    Args:
        path: of the file.
        name: of the file, for messages.
        filters: of ffmpeg; they end in RGB.
        rate: frames a second, some repeated or left out; None gives each frame once.

    Raises:
        ImageError: there is no such file, or it is no video, damaged or cut short; the message begins with ``name``.
    """
    check_file(path, name)
    # 0:V:0 is the first video stream that is no cover picture; xerror: damage is not painted over
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-xerror", "-format_whitelist", CONTAINERS]
    command += ["-i", f"file:{os.path.abspath(path)}", "-map", "0:V:0", "-vf", filters]
    command += ["-fps_mode", "passthrough"] if rate is None else ["-fps_mode", "cfr", "-r", f"{rate}"]
    command += ["-c:v", "ppm", "-f", "image2pipe", "-"]
    read = 0
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as process:
            assert process.stdout is not None, "a pipe, as asked for"
            try:
                # a picture is the lines "P6", "width height" and "255", and then its pixels
                while process.stdout.readline() and (shape := process.stdout.readline()):
                    width, height = map(int, shape.split())
                    process.stdout.readline()
                    pixels = process.stdout.read(height * width * 3)
                    if len(pixels) < height * width * 3:
                        break
                    yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
                    read += 1
                process.wait()
            finally:
                process.kill()  # it has ended, unless the reader gave up
        log.seek(0)
        complaint = log.read().decode(errors="replace").strip()
    # ffmpeg does not count a Matroska file's early end as an error
    if process.returncode or "ended prematurely" in complaint:
        reason = re.sub(r"^\[.*?\] ", "", complaint.splitlines()[0]) if complaint else f"exit status {process.returncode}"
        what = f"damaged or cut short after {read} frames" if read else "not a video that can be read"
        raise ImageError(f"{name}: {what} (ffmpeg: {reason})")


def convert_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    convert: Callable[..., Tensor],
    *,
    recurrent: bool = False,
    progress: bool = True,
) -> None:
    """Apply ``convert`` to every frame of a video and write the result as another video, with the same sound.

    Frames are read, converted and written one by one, so a video may be long. Every ten seconds of the result become a file in
    a hidden folder beside ``target``. After an interruption, the same call goes on with the first missing file. If ``source``
    or the first converted frame has changed, all files are made anew. At the end, the files are joined to ``target`` and the
    folder is removed.

    >>> colorizer = Colorizer.load(asset_path("colorizer-grayscale"))
    >>> convert_video("clip.mp4", "colorized.mp4", colorizer.colorize_image)

    A picture's colors may depend on those of the picture before:

    >>> shown = ReferenceColorizer.load("shown.safetensors")
    >>> def follow(picture, before):
    ...     return shown.colorize_image(picture, reference=["first.png"] if before is None else ["first.png", before])
    >>> convert_video("clip.mp4", "colorized.mp4", follow, recurrent=True)

    Args:
        source: a video of any size and length.
        target: a path that ends in .mp4, .mkv or .mov. It is H.264, at the source's frames a second; a video with an odd number
            of pixels a side is resized to the next smaller even one.
        convert: takes an image (1, 3, H, W), RGB in [0, 1], and gives one, of a size that is the same for all.
        recurrent: ``convert`` takes a second argument: what it gave for the picture before, in 8 bits; None at the first.
        progress: show a progress bar.

    Raises:
        ImageError: ``source`` is no video, damaged or cut short; ``target`` has another ending or cannot be written; or
            ``convert`` gives no such image.
    """
    source, target = Path(source), Path(target)
    name = repr(os.fspath(source))
    if target.suffix.lower() not in WRITTEN:
        raise ImageError(f"{str(target)!r}: the name must end in one of {', '.join(WRITTEN)}")
    check_folder_of(target)
    check_file(source, name)
    rate, seconds = _rate_and_length(source, name)
    folder = target.with_name(f".{target.name}.parts")
    pictures = decode_video(source, name, f"scale=iw*sar:ih:flags=bicubic+{EXACT},setsar=1,format=rgb24", rate)
    try:
        with closing(pictures), tqdm(total=round(rate * seconds), unit="frame", disable=not progress) as bar:
            converter = _Converter(convert, recurrent)
            # functions, since what is written already need not be converted
            frames: Iterator[Callable[[], np.ndarray]] = (partial(converter, picture) for picture in pictures)
            first = next(frames, None)
            if first is None:
                raise ImageError(f"{name}: there are no frames in it")
            shown = first()
            digest = hashlib.sha256(shown.tobytes()).hexdigest()
            _open_parts(folder, f"{source.stat().st_size} {source.stat().st_mtime_ns} {digest}")
            frames = chain([lambda: shown], frames)
            length, parts = round(PART_SECONDS * rate) or 1, []
            for number in count():
                part, some = folder / f"{number:06}{target.suffix.lower()}", islice(frames, length)
                last = part.with_suffix(".png")
                if part.exists() and last.exists():
                    written = sum(1 for _ in some)
                    bar.update(written)
                    converter.before = load_image(last)
                else:
                    written = _write(part, (frame() for frame in some), rate, bar)
                    if converter.before is not None:
                        save_image(converter.before, last)
                if written:
                    parts.append(part)
                if written < length:
                    break
        with atomic_write(target) as temporary:
            _join(parts, source, temporary)
    except OSError as error:
        raise ImageError(f"{str(target)!r} cannot be written: {error}") from error
    shutil.rmtree(folder)


class _Converter:
    """``convert``, of pictures (H, W, 3), uint8, to others.

    Attributes:
        before: what it gave last, (1, 3, H, W), RGB in [0, 1].
    """

    def __init__(self, convert: Callable[..., Tensor], recurrent: bool):
        self.convert, self.recurrent = convert, recurrent
        self.before: Tensor | None = None

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        image = _as_tensor(picture)
        converted = to_uint8(self.convert(image, self.before) if self.recurrent else self.convert(image))
        self.before = _as_tensor(converted)
        return converted


def _as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float().div_(255)


def _rate_and_length(path: Path, name: str) -> tuple[float, float]:
    """Frames a second, and seconds, as ffmpeg tells them."""
    try:
        with closing(
            imageio_ffmpeg.read_frames(f"file:{os.path.abspath(path)}", input_params=["-format_whitelist", CONTAINERS])
        ) as reader:
            about = next(reader)
    except (OSError, StopIteration, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise ImageError(f"{name}: not a video that can be read (ffmpeg: {reason[-1] if reason else 'no frames'})") from None
    return about["fps"] or 25.0, about["duration"]


def _open_parts(folder: Path, identity: str) -> None:
    """The folder of the parts, empty if those that are in it were made from something else."""
    noted = folder / "identity.txt"
    if not noted.exists() or noted.read_text() != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        noted.write_text(identity)


def _write(path: Path, frames: Iterable[np.ndarray], rate: float, bar: tqdm) -> int:
    """Encode pictures (H, W, 3), uint8, and return how many they were; if there are none, there is no file."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return 0
    written = 0
    with atomic_write(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            first.shape[1::-1],
            fps=rate,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            output_params=H264,
        )
        writer.send(None)
        for frame in chain([first], frames):
            writer.send(np.ascontiguousarray(frame).tobytes())
            written += 1
            bar.update()
        writer.close()
    return written


def _join(parts: list[Path], source: Path, target: Path) -> None:
    """Put parts one after the other, and the source's sound beside them."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as listed:
        for part in parts:
            quoted = str(part.absolute()).replace("'", r"'\''")
            listed.write(f"file '{quoted}'\n")
        listed.flush()
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-f", "concat", "-safe", "0"]
        command += ["-i", listed.name, "-format_whitelist", CONTAINERS, "-i", f"file:{source.absolute()}"]
        command += ["-map", "0:v", "-map", "1:a?", "-c:v", "copy", "-c:a", "aac", str(target)]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(f"ffmpeg: {result.stderr.strip()}")
