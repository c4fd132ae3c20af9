"""Your own anime as frames: a folder of pictures or a video, divided into scenes, with whole scenes held out for the test.

A frame is a float32 tensor of shape (3, H, W), RGB in [0, 1].
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.arguments import choice, number, whole_number
from nstlib.color import luma_bt709
from nstlib.images import ImageError, load_image, resize, to_uint8
from nstlib.video import EXACT, decode_video

# Frames are compared as thumbnails of 8 x 8 pixels in RGB: by the mean absolute difference, on the scale 0 to 1. The thumbnail
# is made from the picture, not from the frame, so that the split is the same whatever ``size`` is.
THUMBNAIL = 8
DUPLICATE = 0.01  # nearer than this: a near-duplicate. Where the camera moves by a hundredth of the frame, it is about 0.012
CUT = 0.1  # from this on, a neighbor belongs to another scene
GAP = 12  # frames left out between training and test where one scene has to be divided


class _StoredFrames(Dataset[Tensor]):
    """One side of a split, held in memory.

    Attributes:
        frames: shape (N, 3, size, size), uint8.
        numbers: where each frame stands among the source's pictures, counted from 0.
        scenes: the frames of each scene, as ranges of this dataset's indices.

    Args:
        name: of the source, for messages.
        pictures: its frames (size, size, 3) with their thumbnails (8, 8, 3), uint8, in order.
    """

    def __init__(self, name: str, pictures: Iterable[tuple[np.ndarray, np.ndarray]], split: str, test_share: float):
        frames, numbers = [], []
        thumbnails: list[np.ndarray] = []
        for position, (frame, thumbnail) in enumerate(pictures):
            if not thumbnails or np.abs(thumbnail / 255 - thumbnails[-1]).mean() >= DUPLICATE:
                frames.append(frame)
                thumbnails.append(thumbnail / 255)
                numbers.append(position)
        if not frames:
            raise ImageError(f"{name}: there are no frames in it")
        try:
            scenes = split_scenes(torch.from_numpy(np.stack(thumbnails)).float(), test_share)[split]
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from None
        kept = [index for scene in scenes for index in scene]
        self.frames = torch.from_numpy(np.stack([frames[index] for index in kept])).permute(0, 3, 1, 2).contiguous()
        self.numbers = [numbers[index] for index in kept]
        self.scenes = [range(stop - len(scene), stop) for scene, stop in zip(scenes, accumulate(map(len, scenes)), strict=True)]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} frames, no frame {index}")
        return self.frames[index].float().div_(255)


class FrameFolder(_StoredFrames):
    """The pictures of a folder as frames: shape (3, size, size), RGB, in [0, 1].

    They are taken in the order of their names, frame2 before frame10, those of folders inside it, too; hidden files and folders
    are passed over. A frame is the middle square of its picture, resized with an antialiased filter. The split is that of
    ``VideoFrames``: pictures that hardly differ from the one before are dropped, and whole scenes are set aside for the test.
    All is read when the folder is opened, and kept in memory, 0.2 MB a frame of 256 pixels. Files that are no pictures are
    skipped with a RuntimeWarning.

    Attributes:
        files: the path of each frame.
        scenes: the frames of each scene, as ranges of this dataset's indices.

    Args:
        path: of the folder.
        split: "train" or "test".
        size: side of the square frames in pixels.
        test_share: about which part of the frames is for the test.

    Raises:
        ValueError: ``split``, ``size`` or ``test_share`` is none of these.
        ImageError: there is no such folder, no picture in it that can be read, or there are too few to split.
    """

    def __init__(self, path: str | os.PathLike[str], split: str = "train", size: int = 256, test_share: float = 0.2):
        _check_arguments(split, size, test_share)
        name = _check_path(path)
        files = visible_files(path, name)
        pictures, faults = {}, {}
        for file in files:
            try:
                pictures[file] = frame_and_thumbnail(load_image(file), size)
            except ImageError as error:
                faults[file] = error
        if not pictures:
            raise ImageError(f"{name}: none of its {len(files)} files can be read as a picture; {faults[files[0]]}")
        if faults:
            names = ", ".join(repr(file.name) for file in list(faults)[:3]) + (", ..." if len(faults) > 3 else "")
            message = f"{name}: {len(faults)} of {len(files)} files cannot be read as pictures and are skipped: {names}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        super().__init__(name, pictures.values(), split, test_share)
        readable = list(pictures)
        self.files = [readable[number] for number in self.numbers]


class VideoFrames(_StoredFrames):
    """The frames of a video (mp4, mkv, webm, avi, ...): shape (3, size, size), RGB, in [0, 1].

    A frame is the middle square of the picture, resized with an antialiased filter. A frame that differs by less than
    ``DUPLICATE`` from the last one kept is dropped. Scenes are divided where neighbors differ by ``CUT`` or more; whole
    scenes, spread over the video, are the test split. If they cannot add up to about ``test_share``, as in a video of a single
    scene, the end is the test split, and the ``GAP`` frames before it are in neither split. Training frames that are
    near-duplicates of a test frame are dropped: a show repeats its shots. All is decoded when the video is opened, and kept
    in memory, 0.2 MB a frame of 256 pixels.

    Attributes:
        numbers: which of the video's frames each is, counted from 0.
        scenes: the frames of each scene, as ranges of this dataset's indices.

    Args:
        path: of the file.
        split: "train" or "test".
        size: side of the square frames in pixels.
        test_share: about which part of the frames is for the test.

    Raises:
        ValueError: ``split``, ``size`` or ``test_share`` is none of these.
        ImageError: there is no such file, it is no video, damaged or cut short, or has too few distinct frames to split.
    """

    def __init__(self, path: str | os.PathLike[str], split: str = "train", size: int = 256, test_share: float = 0.2):
        _check_arguments(split, size, test_share)
        name = _check_path(path)
        with closing(frames_and_thumbnails(path, name, size)) as pictures:
            super().__init__(name, pictures, split, test_share)


class PairFolder(Dataset[Tensor]):
    """Your own pairs of line-art and colors, in two folders, matched by their names (without the ending).

    An item has the shape (4, size, size), in [0, 1]: line-art, ink on paper, then RGB; both are the middle squares of their
    pictures. It is for ``Colorizer(Condition("given"), ...)``. The split is that of ``FrameFolder``, found on the colors.

    Attributes:
        names: of each pair.

    Args:
        lines, colors: the two folders.
        split: "train" or "test".
        size: side of the square frames in pixels.
        test_share: about which part of the pairs is for the test.

    Raises:
        ValueError: ``split``, ``size`` or ``test_share`` is none of these.
        ImageError: a folder cannot be read, no picture of one has a partner in the other, or there are too few to split.

    Warns:
        RuntimeWarning: some have no partner, or cannot be read.
    """

    def __init__(
        self,
        lines: str | os.PathLike[str],
        colors: str | os.PathLike[str],
        split: str = "train",
        size: int = 256,
        test_share: float = 0.2,
    ):
        partners = {file.stem: file for file in visible_files(lines, _check_path(lines))}
        self._frames = FrameFolder(colors, split, size, test_share)
        kept = [index for index, file in enumerate(self._frames.files) if file.stem in partners]
        if not kept:
            raise ImageError(f"{_check_path(lines)} and {_check_path(colors)}: no two pictures of the same name")
        if len(kept) < len(self._frames):
            missing = len(self._frames) - len(kept)
            warnings.warn(
                f"{missing} of {len(self._frames)} pictures have no line-art and are skipped", RuntimeWarning, stacklevel=2
            )
        self._kept = kept
        self.names = [self._frames.files[index].stem for index in kept]
        shape = (size, size)
        self._lines = [luma_bt709(resize(middle_square(load_image(partners[name])), shape))[0] for name in self.names]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Tensor:
        return torch.cat([self._lines[index], self._frames[self._kept[index]]])


def split_scenes(thumbnails: Tensor, test_share: float) -> dict[str, list[list[int]]]:
    """Share out frames between training and test, scene by scene.

    Scenes are taken in order. A scene goes to the test split if that brings the test split's share so far nearer to
    ``test_share``. If either split ends up with less than half of its due share, the last frames are the test split instead,
    after a gap of ``GAP`` frames.

    Args:
        thumbnails: shape (N, ...), in [0, 1], in the order of the frames.
        test_share: approximate share of the frames in the test split.

    Returns:
        For "train" and "test" the indices of the frames of each scene. Training frames nearer than ``DUPLICATE`` to a test
        frame are left out.

    Raises:
        ImageError: there are too few frames, or every training frame is a near-duplicate of a test frame.
    """
    pixels = thumbnails.flatten(1)
    total = len(pixels)
    cuts = (pixels[1:] - pixels[:-1]).abs().mean(1) >= CUT
    scenes = [range(*ends) for ends in pairwise([0, *(cuts.nonzero().flatten() + 1).tolist(), total])]

    sides: dict[str, list[range]] = {"train": [], "test": []}
    tested = 0
    for scene in scenes:
        wanted = test_share * scene.stop - tested  # for the test, by the end of this scene
        sides["test" if len(scene) / 2 < wanted else "train"].append(scene)
        tested = sum(map(len, sides["test"]))
    if tested < test_share * total / 2 or total - tested < (1 - test_share) * total / 2:
        if total < GAP + 2:
            raise ImageError(
                f"too few distinct frames to set some aside for the test: {total}; "
                f"there must be more scenes, or at least {GAP + 2} frames"
            )
        first = max(GAP + 1, total - max(1, round(test_share * total)))
        parts = {"train": range(first - GAP), "test": range(first, total)}
        overlaps = {
            side: [range(max(scene.start, part.start), min(scene.stop, part.stop)) for scene in scenes]
            for side, part in parts.items()
        }
        sides = {side: [scene for scene in overlaps[side] if scene] for side in parts}

    test = [list(scene) for scene in sides["test"]]
    test_pixels = pixels[[index for scene in test for index in scene]]
    train = []
    for scene in sides["train"]:
        nearest = torch.cdist(pixels[scene.start : scene.stop], test_pixels, p=1).amin(1) / pixels.shape[1]
        train.append([index for index, distance in zip(scene, nearest.tolist(), strict=True) if distance >= DUPLICATE])
    train = [scene for scene in train if scene]
    if not train:
        raise ImageError("every frame left for training is a near-duplicate of a test frame")
    return {"train": train, "test": test}


def _check_arguments(split: str, size: int, test_share: float) -> None:
    choice(split, "split", ("train", "test"))
    whole_number(size, "size", 8)
    number(test_share, "test_share", above=0, below=1)


def visible_files(folder: str | os.PathLike[str], name: str) -> list[Path]:
    """What lies in a folder and in folders inside it, but for hidden ones, in the natural order of the names.

    Raises:
        ImageError: nothing does, or the folder cannot be read; the message begins with ``name``.
    """
    try:
        os.listdir(folder)  # what os.walk would pass over in silence
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such folder") from None
    except NotADirectoryError:
        raise ImageError(f"{name}: not a folder") from None
    except (OSError, ValueError) as error:  # not allowed to look, a name too long, a null character in it
        raise ImageError(f"{name}: cannot be read ({error})") from None
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = [inside for inside in folders if not inside.startswith(".")]
        files += [Path(place, file) for file in names if not file.startswith(".")]
    if not files:
        raise ImageError(f"{name}: there are no files in this folder")
    return sorted(files, key=lambda file: _natural(file.relative_to(folder)))


def _natural(file: Path) -> tuple[list[str | int], str]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", file.as_posix())  # text and digits in turn, text first: equal places can be compared
    return [int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)], file.as_posix()


def _check_path(path: object) -> str:
    """The name of a path for messages.

    Raises:
        ImageError: it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise ImageError(f"a path is text or a Path, not {type(path).__name__}")
    return repr(os.fspath(path))


def middle_square(image: Tensor) -> Tensor:
    """The largest square in the middle of images (B, C, H, W)."""
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    return image[:, :, top : top + side, left : left + side]


def frame_and_thumbnail(image: Tensor, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle square of an image (1, 3, H, W) as (size, size, 3) and as (8, 8, 3), uint8."""
    square = middle_square(image)
    return to_uint8(resize(square, (size, size))), to_uint8(resize(square, (THUMBNAIL, THUMBNAIL)))


def frames_and_thumbnails(
    path: str | os.PathLike[str], name: str, size: int
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """The middle squares of a video's frames as (size, size, 3) and as (8, 8, 3), uint8, in turn.

    Raises:
        ImageError: there is no such file, or it is no video, damaged or cut short; the message begins with ``name``.
    """
    # The thumbnail comes below its frame. sar: pixels need not be square. rgb24 at once: later the chroma would be halved.
    filters = (
        "crop='min(iw,ih/sar)':'min(ih,iw*sar)',split[picture][same];"
        f"[picture]scale={size}:{size}:flags=bicubic+{EXACT},format=rgb24[frame];"
        f"[same]scale={THUMBNAIL}:{THUMBNAIL}:flags=area+{EXACT},format=rgb24,pad={size}:{THUMBNAIL}[thumbnail];"
        "[frame][thumbnail]vstack"
    )
    with closing(decode_video(path, name, filters)) as pictures:
        for pixels in pictures:
            yield pixels[:size], pixels[size:, :THUMBNAIL]
