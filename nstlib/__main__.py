"""The command line, for those who do not write Python.

    python -m nstlib stylize PHOTO PAINTING     paint a photograph in the style of a painting
    python -m nstlib colorize SOURCE            color a picture, all pictures of a folder, or a video

``python -m nstlib stylize --help`` and ``python -m nstlib colorize --help`` list the options.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from nstlib.assets import AssetError, asset_path
from nstlib.colorizer import Colorizer
from nstlib.frames import visible_files
from nstlib.images import ImageError, check_target, load_image, save_image
from nstlib.reference import ReferenceColorizer
from nstlib.training import ModelError
from nstlib.transfer import TransferError, stylize
from nstlib.video import convert_video

SHIPPED = {  # name on the command line -> asset
    "grayscale": "colorizer-grayscale",
    "canny": "colorizer-canny",
    "reference-grayscale": "reference-grayscale",
    "reference-canny": "reference-canny",
}
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (see the module).

    Returns:
        The exit status: 0 for success, 1 for input that cannot be used, 130 after Ctrl-C.

    Raises:
        SystemExit: the arguments are wrong (status 2), or ``--help`` was given (status 0).
    """
    options = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"nstlib: {message}", file=sys.stderr)
        try:
            options.command(options)
        except (AssetError, ImageError, ModelError, TransferError, ValueError) as error:
            print(f"nstlib: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("nstlib: interrupted", file=sys.stderr)
            return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of both commands."""
    result = argparse.ArgumentParser(prog="python -m nstlib", description="Paint a photograph, or color a drawing or a clip.")
    commands = result.add_subparsers(required=True, metavar="COMMAND")

    paint = commands.add_parser("stylize", help="paint a photograph in the style of a painting")
    paint.add_argument("photo", type=Path)
    paint.add_argument("painting", type=Path)
    paint.add_argument("--out", type=Path, help="the result; PHOTO-stylized.png if not given")
    paint.add_argument("--size", type=int, default=512, help="longer side of the result in pixels (512)")
    paint.add_argument("--steps", type=int, default=400, help="optimization steps; more steps bring more of the style (400)")
    paint.add_argument("--style-weight", type=float, default=1.0, help="higher: more of the painting, less of the photo (1)")
    paint.add_argument("--preserve-color", action="store_true", help="keep the colors of the photograph")
    paint.add_argument("--checkpoint", type=Path, help="a file from which an interrupted painting goes on")
    paint.set_defaults(command=run_stylize)

    color = commands.add_parser("colorize", help="color a picture, all pictures of a folder, or a video")
    color.add_argument("source", type=Path)
    color.add_argument("--out", type=Path, help="the result; SOURCE-colorized, with .png or .mp4, if not given")
    color.add_argument(
        "--colorizer",
        default="grayscale",
        help=f"{', '.join(SHIPPED)}, which come with nstlib, or a file that Colorizer.save wrote (grayscale)",
    )
    color.add_argument(
        "--key-frame",
        type=Path,
        nargs="+",
        default=[],
        metavar="FRAME",
        help="frames of the scene that are colored already (with reference-grayscale, for line-art with reference-canny)",
    )
    color.add_argument("--drawing", action="store_true", help="SOURCE is line-art already (with a colorizer for line-art)")
    color.set_defaults(command=run_colorize)
    return result


def run_stylize(options: argparse.Namespace) -> None:
    """Paint, and write the picture."""
    out = check_target(options.out or beside(options.photo, "stylized", ".png"))
    result = stylize(
        options.photo,
        options.painting,
        size=options.size,
        steps=options.steps,
        style_weight=options.style_weight,
        preserve_color=options.preserve_color,
        checkpoint=options.checkpoint,
    )
    save_image(result.image, out)
    print(out)


def run_colorize(options: argparse.Namespace) -> None:
    """Color what ``source`` is: a folder, a video, or else a picture."""
    source = options.source
    colorizer = Colorizer.load(asset_path(SHIPPED[options.colorizer]) if options.colorizer in SHIPPED else options.colorizer)
    method = colorizer.colorize_drawing if options.drawing else colorizer.colorize_image
    keys = [load_image(path) for path in options.key_frame]
    if keys and not isinstance(colorizer, ReferenceColorizer):
        raise ValueError(
            f"--key-frame needs a ReferenceColorizer; --colorizer {options.colorizer} is a {type(colorizer).__name__}"
        )
    colorize = partial(method, reference=keys) if keys else method

    if source.is_dir():
        out = options.out or source.with_name(f"{source.resolve().name}-colorized")
        colorize_folder(source, out, colorize)
    elif source.suffix.lower() in VIDEOS:
        out = options.out or beside(source, "colorized", ".mp4")
        convert_video(source, out, colorize)
    else:
        out = check_target(options.out or beside(source, "colorized", ".png"))
        save_image(colorize(source), out)
    print(out)


def colorize_folder(source: Path, out: Path, colorize: Callable[[Path], Tensor]) -> None:
    """Color every picture in a folder, as PNG of the same name. Those that are there already are left alone, so that the same
    command goes on after an interruption.

    Raises:
        ImageError: no file is a picture, two would get the same name, or ``out`` cannot be written or lies in ``source``.

    Warns:
        RuntimeWarning: a file is not a picture, and is skipped.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise ImageError(f"{str(out)!r} lies in the folder that is colorized; give another one with --out")
    targets: dict[Path, Path] = {}
    for file in visible_files(source, repr(str(source))):
        target = (out / file.relative_to(source)).with_suffix(".png")
        if target in targets:
            raise ImageError(f"{str(targets[target])!r} and {str(file)!r} would both become {str(target)!r}")
        targets[target] = file
    done = 0
    for target, file in tqdm(targets.items(), unit="picture"):
        if not target.exists():
            try:
                colored = colorize(file)
            except ImageError as error:
                warnings.warn(f"skipped: {error}", RuntimeWarning, stacklevel=1)
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ImageError(f"{str(out)!r} cannot be written: {error}") from error
            save_image(colored, target)
        done += 1
    if not done:
        raise ImageError(f"{str(source)!r}: none of its {len(targets)} files is a picture")


def beside(path: Path, what: str, suffix: str) -> Path:
    """A name for a result beside its source."""
    return path.with_name(f"{path.stem}-{what}{suffix}")


if __name__ == "__main__":
    sys.exit(main())
