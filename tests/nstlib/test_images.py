"""Any file at all gives an image as documented, or ImageError: nothing else, and soon."""

import io
import math
import os
import struct
import time
import zlib

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.TiffImagePlugin
import pytest
import torch

from nstlib.images import MAX_PIXELS, ImageError, check_image, load_alpha, load_image, resize, save_image, to_uint8

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
SECONDS = 5


# --- pictures, made here ---------------------------------------------------------------------------------------------


def quarters(width=48, height=32):
    """Red and green above blue and white: every rotation and every swapped channel shows."""
    array = np.empty((height, width, 3), np.uint8)
    array[: height // 2, : width // 2], array[: height // 2, width // 2 :] = RED, GREEN
    array[height // 2 :, : width // 2], array[height // 2 :, width // 2 :] = BLUE, WHITE
    return PIL.Image.fromarray(array)


def noise(width=64, height=48):
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def flat(mode, color, size=(4, 3)):
    return PIL.Image.new(mode, size, color)


def encode(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def gray16(value, mode="I;16"):
    return PIL.Image.fromarray(np.full((3, 4), value, np.uint16)) if mode == "I;16" else flat(mode, value)


def float_tiff(*values):
    return encode(PIL.Image.fromarray(np.array([values, values], np.float32)), "TIFF")


def int_tiff(*values):
    return encode(PIL.Image.fromarray(np.array([values, values], np.int32)), "TIFF")


def palette_with_transparent_red():
    image = quarters().quantize(4)
    return encode(image, "PNG", transparency=image.getpixel((0, 0)))


def pa():
    image = flat("PA", (0, 51))
    image.putpalette([0, 0, 0])
    return image


def rotated(orientation):
    """The picture as a camera stores it that is held so that EXIF calls it ``orientation`` (EXIF 2.32, tag 274)."""
    upright = np.asarray(quarters())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright[:, ::-1].transpose(1, 0, 2),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright[::-1].transpose(1, 0, 2),
    }[orientation]
    return PIL.Image.fromarray(np.ascontiguousarray(stored)), exif(orientation)


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[274] = orientation
    return tags


def animation(file_format, **options):
    frames = [flat("RGB", color, (16, 16)) for color in (RED, GREEN, BLUE)]
    return encode(frames[0], file_format, save_all=True, append_images=frames[1:], duration=40, **options)


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def png(width, height, rows, *more, depth=8, color=2, interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_2x2(*more):
    return png(2, 2, (b"\0" + bytes(RED + RED)) * 2, *more)


def interlaced_png():
    # Adam7: pixel (0, 0) comes in pass 1, (1, 0) in pass 6, the row below in pass 7
    return png(2, 2, bytes((0, *RED, 0, *GREEN, 0, *BLUE, *WHITE)), interlaced=1)


def bomb_of_zeros(kind, head, megabytes):
    return chunk(kind, head + zlib.compress(bytes(megabytes << 20), 9))


def ico(inside, side=16):
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, side, side, 0, 0, 1, 32, len(inside), 22) + inside


def icns(inside):
    return b"icns" + struct.pack(">I4sI", 16 + len(inside), b"ic07", 8 + len(inside)) + inside


def iptc(inside):
    def field(record, tag, data):
        return bytes((0x1C, record, tag)) + struct.pack(">H", len(data)) + data

    head = field(3, 60, b"\1\0") + field(3, 20, b"\0\x14") + field(3, 30, b"\0\x14") + field(3, 120, b"\5")
    return head + field(8, 10, inside) + b"\x1c\1\1\0\0"


def tiff(*entries, next_ifd=0):
    """A little-endian TIFF of one directory; an entry is (tag, type, count, value)."""
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + ifd + struct.pack("<I", next_ifd)


def flipped(data, start, count=8):
    changed = bytearray(data)
    changed[start : start + count] = bytes(255 - byte for byte in changed[start : start + count])
    return bytes(changed)


def resaid(data, offset, layout, *values):
    """``data`` with other numbers at ``offset``."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, *values)
    return bytes(changed)


# --- good ones: name -> (source, colors, tolerance in 1/255) --------------------------------------------------------
# colors: one for the whole picture, or the four of ``quarters``, each on the scale 0-255

FOUR = (RED, GREEN, BLUE, WHITE)


def good_images():
    rgb = quarters()
    translucent = flat("RGBA", (255, 0, 0, 128))
    yield (
        "mode_1.png",
        encode(rgb.convert("L").point(lambda v: 255 * (v > 200)).convert("1"), "PNG"),
        (BLACK, BLACK, BLACK, WHITE),
        0,
    )
    yield "mode_L.png", encode(flat("L", 51), "PNG"), (51,) * 3, 0
    yield "mode_L.pgm", encode(flat("L", 51), "PPM"), (51,) * 3, 0
    yield "mode_LA.png", encode(flat("LA", (0, 51)), "PNG"), (204,) * 3, 0
    yield "mode_P.png", encode(rgb.quantize(4), "PNG"), FOUR, 0
    yield "mode_P_transparent.png", palette_with_transparent_red(), (WHITE, GREEN, BLUE, WHITE), 0
    yield "mode_P.gif", encode(rgb, "GIF"), FOUR, 0
    yield "mode_RGB.png", encode(rgb, "PNG"), FOUR, 0
    yield "mode_RGBA.png", encode(translucent, "PNG"), (255, 127, 127), 0
    yield "mode_RGBA_clear.png", encode(flat("RGBA", (0, 0, 0, 0)), "PNG"), WHITE, 0
    yield "mode_RGBA.tiff", encode(translucent, "TIFF"), (255, 127, 127), 0
    yield "mode_RGBA.webp", encode(translucent, "WEBP", lossless=True), (255, 127, 127), 0
    yield "mode_CMYK.jpg", encode(rgb.convert("CMYK"), "JPEG", quality=100, subsampling=0), FOUR, 3
    yield "mode_CMYK.tiff", encode(rgb.convert("CMYK"), "TIFF"), FOUR, 0
    yield "mode_YCbCr.jpg", encode(rgb.convert("YCbCr"), "JPEG", quality=100, subsampling=0), FOUR, 3
    if int(PIL.__version__.split(".")[0]) >= 13:  # before, Pillow could not read what it wrote
        yield "mode_YCbCr.tiff", encode(rgb.convert("YCbCr"), "TIFF"), FOUR, 3
    yield "mode_LAB.tiff", encode(flat("LAB", (255, 128, 128)), "TIFF"), WHITE, 2
    yield "mode_I16.png", encode(gray16(32768), "PNG"), (32768 / 257,) * 3, 0
    yield "mode_I16_white.png", encode(gray16(65535), "PNG"), WHITE, 0
    yield "mode_I16_transparent.png", png(2, 2, b"\0\1\2\1\2" * 2, chunk(b"tRNS", b"\1\2"), depth=16, color=0), WHITE, 0
    yield "mode_I16.tiff", encode(gray16(32768), "TIFF"), (32768 / 257,) * 3, 0
    yield "mode_I16B.tiff", encode(gray16(32768, "I;16B"), "TIFF"), (32768 / 257,) * 3, 0
    yield "mode_RGB_16_bit.png", png(2, 2, (b"\0" + b"\x80\x80\0\0\xff\xff" * 2) * 2, depth=16), (128, 0, 255), 0
    yield "mode_I.tiff", int_tiff(32768, 32768), (32768 / 257,) * 3, 0
    yield "mode_F_unit.tiff", float_tiff(0.25, 0.25), (255 / 4,) * 3, 0
    yield "mode_F_255.tiff", float_tiff(51, 51), (51,) * 3, 0
    yield "mode_F_black.tiff", float_tiff(0, 0), BLACK, 0
    for mode, color, expected in (
        ("RGBX", (*RED, 0), RED),
        ("RGBa", (128, 0, 0, 128), (255, 127, 127)),
        ("La", (0, 51), (204,) * 3),
        ("HSV", (0, 255, 255), RED),
        ("YCbCr", (255, 128, 128), WHITE),
        ("LAB", (138, 209, 198), RED),
        ("CMYK", (0, 255, 255, 0), RED),
        ("I", 65535, WHITE),
        ("F", 1.0, WHITE),
        ("I;16B", 65535, WHITE),
    ):
        yield f"PIL image, mode {mode}", flat(mode, color), expected, 6 if mode == "LAB" else 0
    yield "PIL image, mode PA", pa(), (204,) * 3, 0
    for orientation in range(1, 9):
        image, tags = rotated(orientation)
        yield f"exif_{orientation}.jpg", encode(image, "JPEG", quality=100, subsampling=0, exif=tags), FOUR, 3
    image, tags = rotated(6)
    yield "exif_6.png", encode(image, "PNG", exif=tags), FOUR, 0
    yield "exif_6.tiff", encode(image, "TIFF", exif=tags), FOUR, 0
    yield "exif_6.webp", encode(image, "WEBP", lossless=True, exif=tags), FOUR, 0
    yield "exif_99.png", encode(rgb, "PNG", exif=exif(99)), FOUR, 0
    yield "exif_damaged.jpg", encode(rgb, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), FOUR, 3
    yield "animated.gif", animation("GIF"), RED, 0
    yield "animated.webp", animation("WEBP", lossless=True), RED, 0
    yield "animated.png", animation("PNG"), RED, 0
    yield "pages.tiff", animation("TIFF"), RED, 0
    yield "progressive.jpg", encode(rgb, "JPEG", progressive=True, quality=100, subsampling=0), FOUR, 3
    yield "trailing_garbage.jpg", encode(rgb, "JPEG", quality=100, subsampling=0) + b"garbage" * 99, FOUR, 3
    yield "interlaced.png", interlaced_png(), FOUR, 0
    # Pillow leaves the checksum of the pixels unread, and takes the rows that a complete stream lacks for black
    yield "wrong_checksum.png", (data := encode(rgb, "PNG")).replace(data[-16:-12], b"\0\0\0\0"), FOUR, 0
    yield "too_few_rows.png", png(2, 4, (b"\0" + bytes(RED + RED)) * 2), (RED, RED, BLACK, BLACK), 0
    yield "lzw.tiff", encode(rgb, "TIFF", compression="tiff_lzw"), FOUR, 0
    yield "plain.ppm", b"P3 2 2 255  255 0 0  0 255 0  0 0 255  255 255 255", FOUR, 0
    for file_format in ("BMP", "PPM", "PCX", "SGI", "DDS", "JPEG2000", "QOI"):
        yield f"quarters.{file_format.lower()}", encode(rgb, file_format), FOUR, 0
    yield "quarters.tga", encode(rgb, "TGA", compression="tga_rle"), FOUR, 0
    yield "quarters.webp", encode(rgb, "WEBP", lossless=True), FOUR, 0
    yield "quarters.ico", encode(quarters(32, 32), "ICO", sizes=[(32, 32)]), FOUR, 0
    yield "wide.png", encode(quarters(1000, 2), "PNG"), FOUR, 0
    yield "tall.png", encode(quarters(2, 1000), "PNG"), FOUR, 0
    yield "smallest.png", encode(quarters(2, 2), "PNG"), FOUR, 0
    yield "png_named.jpg", encode(rgb, "PNG"), FOUR, 0
    yield "no_ending", encode(rgb, "PNG"), FOUR, 0
    yield "spaces, ü, 画.png", encode(rgb, "PNG"), FOUR, 0


GOOD = {name: case for name, *case in good_images()}


def corners(tensor):
    """The colors in the middle of the four quarters, (4, 3), 0-255."""
    _, _, height, width = tensor.shape
    return torch.stack([tensor[0, :, y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]) * 255


def assert_is_image(tensor):
    assert tensor.dtype == torch.float32
    assert tensor.ndim == 4
    assert tensor.shape[:2] == (1, 3)
    assert tensor.is_contiguous()
    assert check_image(tensor) is tensor


@pytest.mark.parametrize("name", GOOD)
def test_a_good_image_is_read_with_its_colors(name, tmp_path):
    source, colors, tolerance = GOOD[name]
    if isinstance(source, bytes):
        (tmp_path / name).write_bytes(source)
        tensor = load_image(tmp_path / name)
        assert torch.equal(load_image(source), tensor)
        assert torch.equal(load_image(str(tmp_path / name)), tensor)
    else:
        tensor = load_image(source)
    assert_is_image(tensor)
    colors = colors if isinstance(colors[0], tuple) else (colors,) * 4
    torch.testing.assert_close(corners(tensor), torch.tensor(colors, dtype=torch.float32), rtol=0, atol=tolerance + 1e-4)


def test_16_bits_are_not_cut_to_8():
    assert load_image(encode(gray16(32768), "PNG"))[0, 0, 0, 0].item() == np.float32(32768 / 65535)


# --- bad ones --------------------------------------------------------------------------------------------------------


def bad_images():
    rgb = noise()
    eps = encode(quarters(), "EPS")
    yield "empty.png", b""
    yield "one_byte.png", b"\x89"
    yield "zeros.png", bytes(1000)
    yield "random.jpg", np.random.default_rng(1).bytes(5000)
    yield "text.png", b"This is not a picture.\n" * 20
    yield "page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
    yield "paper.pdf", b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF"
    yield "array.npy", b"\x93NUMPY\1\0" + bytes(100)
    yield "postscript.eps", eps
    yield "postscript.png", eps
    yield "postscript.ps", b"%!PS\n/Times-Roman findfont 12 scalefont setfont (x) show showpage\n"
    yield "postscript_in_iptc.jpg", iptc(eps)

    files = {
        "png": encode(rgb, "PNG"),
        "jpg": encode(rgb, "JPEG"),
        "gif": encode(rgb, "GIF"),
        "webp": encode(rgb, "WEBP"),
        "tiff": encode(rgb, "TIFF"),
        "bmp": encode(rgb, "BMP"),
        "jp2": encode(rgb, "JPEG2000"),
    }
    for ending, data in files.items():
        for percent in (1, 10, 50, 90):
            yield f"cut_at_{percent}_percent.{ending}", data[: max(2, len(data) * percent // 100)]
    yield "progressive_cut.jpg", (cut := encode(rgb, "JPEG", progressive=True))[: len(cut) // 2]
    yield "only_header.jpg", files["jpg"][: files["jpg"].index(b"\xff\xda")]
    yield "only_signature.png", files["png"][:8]
    yield "only_header.png", files["png"][:33]
    yield "flipped_in_idat.png", flipped(files["png"], len(files["png"]) // 2)
    yield "bad_header_crc.png", flipped(files["png"], 29, 4)
    yield "header_before_signature.png", files["png"][8:]
    yield "no_such_filter.png", png(2, 2, (b"\x09" + bytes(RED + RED)) * 2)
    yield "no_such_depth.png", png(2, 2, (b"\0" + bytes(RED + RED)) * 2, depth=7)

    yield "zero_pixels.png", png(0, 0, b"")
    yield "zero_height.bmp", resaid(files["bmp"], 22, "<i", 0)
    yield "zero_pixels.gif", b"GIF87a" + struct.pack("<HH", 0, 0) + b"\x80\0\0" + bytes(6) + b"," + bytes(9) + b"\2\2\x44\1\0;"
    yield "1x1.png", encode(flat("RGB", RED, (1, 1)), "PNG")
    yield "1x100.png", encode(flat("RGB", RED, (1, 100)), "PNG")
    yield "100x1.jpg", encode(flat("RGB", RED, (100, 1)), "JPEG")
    yield "1x1_inside.ico", ico(encode(flat("RGB", RED, (1, 1)), "PNG"))
    yield "1x1_inside.icns", icns(encode(flat("RGB", RED, (1, 1)), "PNG"))

    yield "100000x100000.png", png(100_000, 100_000, bytes(1000))
    yield "100_megapixels_and_a_bit.png", png(10_000, 10_001, bytes(1251 * 10_001), depth=1, color=0)
    yield "30000x30000.bmp", resaid(files["bmp"], 18, "<ii", 30_000, 30_000)
    yield "65535x65535.gif", resaid(files["gif"], 6, "<HH", 65535, 65535)
    yield "65500x65500.jpg", resaid(files["jpg"], files["jpg"].index(b"\xff\xc0") + 5, ">HH", 65500, 65500)
    yield "60000x60000.ppm", b"P6 60000 60000 255\n" + bytes(1000)
    yield "30000x30000_inside.ico", ico(png(30_000, 30_000, bytes(1000)))
    yield "text_bomb.png", png_2x2(bomb_of_zeros(b"zTXt", b"Comment\0\0", 200))
    yield "profile_bomb.png", png_2x2(bomb_of_zeros(b"iCCP", b"icc\0\0", 200), bomb_of_zeros(b"iTXt", b"a\0\1\0\0\0", 200))
    yield "no_entries.tiff", tiff()
    yield "circle.tiff", tiff((256, 3, 1, 9), (257, 3, 1, 9), next_ifd=8)
    yield "huge_entry.tiff", tiff((256, 3, 0xFFFFFFFF, 8), (257, 3, 1, 9))
    yield "60000x60000.tiff", tiff((256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8))

    height = files["tiff"].index(struct.pack("<HHII", 257, 4, 1, 48)) + 8
    yield "missing_strips.tiff", resaid(files["tiff"], height, "<I", 1_000_000)

    yield "negative.tiff", int_tiff(-1, 100)
    yield "over_16_bits.tiff", int_tiff(0, 65536)
    yield "negative_float.tiff", float_tiff(-0.5, 0.5)
    yield "float_over_255.tiff", float_tiff(0, 256)
    yield "nan.tiff", float_tiff(0.5, float("nan"))
    yield "infinity.tiff", float_tiff(0.5, float("inf"))


BAD = dict(bad_images())


def test_the_corpus_is_large():
    assert len(GOOD) + len(BAD) >= 50


def refusal(source, size=None):
    """The message with which ``source`` is refused, in time."""
    start = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        load_image(source, size)
    assert time.perf_counter() - start < SECONDS
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_by_name(name, tmp_path):
    (tmp_path / name).write_bytes(BAD[name])
    assert name in refusal(tmp_path / name)
    assert f"{len(BAD[name])} bytes" in refusal(BAD[name])


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (None, "NoneType"),
        (3, "int"),
        ([[0.5]], "list"),
        (np.zeros((4, 4, 3), np.uint8), "ndarray"),
        (torch.zeros(1, 3, 4, 4), "not from Tensor"),
        ("", "^'':"),
        ("missing.png", "missing.png"),
        ("n" * 5000, "n{5000}"),
        ("null\0character.png", "character.png"),
        (os.devnull, os.devnull),
        (flat("RGB", RED, (1, 9)), "1 x 9"),
        (flat("RGB", RED, (0, 0)), "0 x 0"),
        (PIL.Image.open(io.BytesIO(encode(quarters(), "EPS"))), "EPS"),
    ],
    ids=lambda value: value if isinstance(value, str) and 0 < len(value) < 50 and "\0" not in value else type(value).__name__,
)
def test_what_is_no_image_is_refused(source, named):
    with pytest.raises(ImageError, match=named):
        load_image(source)


def test_a_folder_and_what_lies_in_a_file_are_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    assert "folder.png" in refusal(tmp_path / "folder.png")
    assert "inside.png" in refusal(tmp_path / "file" / "inside.png")


def test_a_closed_image_is_refused(tmp_path):
    (tmp_path / "closed.png").write_bytes(encode(noise(), "PNG"))
    with PIL.Image.open(tmp_path / "closed.png") as image:
        pass
    refusal(image)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "TGA", "PPM", "ICO", "JPEG2000"])
def test_damage_anywhere_gives_an_image_or_a_refusal(file_format):
    data = encode(noise(20, 12), file_format)
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = np.frombuffer(data, np.uint8).copy()
        # half of the damage goes to the head, where sizes and offsets are
        end = len(data) if rng.random() < 0.5 else min(100, len(data))
        damaged[rng.integers(0, end, rng.integers(1, 5))] = rng.integers(0, 256)
        start = time.perf_counter()
        try:
            tensor = load_image(damaged.tobytes())
        except ImageError:
            pass
        else:
            assert_is_image(tensor)
        assert time.perf_counter() - start < SECONDS


def test_a_bad_size_names_the_file(tmp_path):
    (tmp_path / "wide.png").write_bytes(encode(quarters(1000, 2), "PNG"))
    assert "wide.png" in refusal(tmp_path / "wide.png", size=64)  # 64 x 0 pixels


# --- resize ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (30, 60, 20, (10, 20)),
        (60, 30, 20, (20, 10)),
        (30, 30, 20, (20, 20)),
        (30, 60, 120, (60, 120)),
        (33, 60, 20, (11, 20)),
        (30, 60, (7, 9), (7, 9)),
        (30, 60, (2, 2), (2, 2)),
    ],
)
def test_resize_gives_the_longer_side_or_the_exact_size(height, width, size, expected):
    assert resize(torch.rand(2, 3, height, width), size).shape == (2, 3, *expected)


def test_load_image_resizes():
    assert load_image(encode(quarters(64, 32), "PNG"), size=16).shape == (1, 3, 8, 16)


def test_resize_to_the_same_size_changes_nothing():
    image = torch.rand(1, 3, 8, 16)
    assert torch.equal(resize(image, 16), image)
    assert torch.equal(resize(image, (8, 16)), image)


@pytest.mark.parametrize("size", [16, 200])
def test_resize_keeps_the_range_and_flat_colors(size):
    edges = (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    resized = resize(edges, size)
    assert resized.min() >= 0
    assert resized.max() <= 1
    torch.testing.assert_close(resize(torch.full((1, 3, 64, 64), 0.3), size), torch.full((1, 3, size, size), 0.3))


def test_resize_is_antialiased():
    # each new pixel is a mean of hundreds of old ones, not a sample of a few
    assert resize(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)), 16).std() < 0.03


@pytest.mark.parametrize(
    "size",
    [0, 1, -5, 10**30, 10**400, True, 2.0, float("nan"), float("inf"), None, "16", [8, 8], np.zeros(2)],
    ids=lambda size: str(size)[:20],
)
def test_resize_refuses_a_bad_length(size):
    with pytest.raises(ImageError, match=r"size|resize"):
        resize(torch.rand(1, 3, 16, 16), size)


@pytest.mark.parametrize(
    "size",
    [(), (8,), (8, 8, 8), (0, 8), (8, 1), (-8, -8), (8, True), (8.0, 8), (8, float("nan")), ("8", "8"), (10**5, 10**5)],
    ids=str,
)
def test_resize_refuses_a_bad_exact_size(size):
    with pytest.raises(ImageError, match=r"size|resize"):
        resize(torch.rand(1, 3, 16, 16), size)


def test_resize_refuses_what_leaves_no_pixels():
    with pytest.raises(ImageError, match=r"1000 x 2 .*64 x 0"):
        resize(torch.rand(1, 3, 2, 1000), 64)


# --- save_image ------------------------------------------------------------------------------------------------------


@pytest.fixture
def image():
    return torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ending", [".png", ".PNG", ".tiff"])
def test_saving_and_loading_keeps_every_value_within_half_a_level(tmp_path, image, ending):
    save_image(image, tmp_path / f"saved{ending}")
    loaded = load_image(tmp_path / f"saved{ending}")
    torch.testing.assert_close(loaded, image, rtol=0, atol=0.5001 / 255)
    save_image(loaded, tmp_path / f"again{ending}")
    assert torch.equal(load_image(tmp_path / f"again{ending}"), loaded)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_keep_smooth_images(tmp_path, ending):
    image = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    save_image(image, tmp_path / f"saved{ending}")
    torch.testing.assert_close(load_image(str(tmp_path / f"saved{ending}")), image, rtol=0, atol=0.02)


def test_values_outside_are_clipped(tmp_path):
    image = torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    save_image(image, tmp_path / "clipped.png")
    assert load_image(tmp_path / "clipped.png")[0, :, 0, 0].tolist() == [0, np.float32(128 / 255), 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_precision_and_an_image_being_optimized_can_be_saved(tmp_path, image, dtype):
    save_image(image.to(dtype).requires_grad_(), tmp_path / "saved.png")
    torch.testing.assert_close(load_image(tmp_path / "saved.png"), image, rtol=0, atol=1.01 / 255)


NO_IMAGES = {
    "nan": torch.full((1, 3, 4, 4), float("nan")),
    "one nan": torch.rand(1, 3, 4, 4).index_fill(3, torch.tensor([2]), float("nan")),
    "no batch": torch.rand(3, 4, 4),
    "batch of 2": torch.rand(2, 3, 4, 4),
    "one channel": torch.rand(1, 1, 4, 4),
    "channels last": torch.rand(1, 4, 4, 3),
    "empty": torch.rand(1, 3, 0, 4),
    "one pixel": torch.rand(1, 3, 1, 1),
    "uint8": torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
    "bool": torch.zeros(1, 3, 4, 4, dtype=torch.bool),
    "complex": torch.zeros(1, 3, 4, 4, dtype=torch.complex64),
    "array": np.zeros((1, 3, 4, 4), np.float32),
    "none": None,
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_not_saved(tmp_path, name):
    with pytest.raises(ImageError):
        save_image(NO_IMAGES[name], tmp_path / "saved.png")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["saved", "saved.xyz", "saved.gif", "saved.eps", ".png", "missing/saved.png", "null\0.png"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path, image, name):
    with pytest.raises(ImageError):
        save_image(image, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, image, monkeypatch):
    path = tmp_path / "saved.png"
    save_image(image, path)
    old = path.read_bytes()

    def disk_full(self, target, **options):
        target.write_bytes(old[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", disk_full)
    with pytest.raises(ImageError, match=r"saved\.png.*No space left on device"):
        save_image(1 - image, path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["saved.png"]


@pytest.mark.parametrize(("name", "width"), [("wide.webp", 20_000), ("wide.jpg", 70_000)])
def test_an_image_too_large_for_its_format_is_refused(tmp_path, name, width):
    (tmp_path / name).write_text("old")
    with pytest.raises(ImageError, match=name):
        save_image(torch.zeros(1, 3, 2, width), tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert os.listdir(tmp_path) == [name]


# --- check_image, to_uint8 -------------------------------------------------------------------------------------------


def test_check_image_returns_the_image_itself(image):
    assert check_image(image) is image
    assert check_image(parameter := torch.nn.Parameter(image)) is parameter


@pytest.mark.parametrize("name", NO_IMAGES)
def test_check_image_refuses_by_name(name):
    with pytest.raises(ImageError, match=r"^style: "):
        check_image(NO_IMAGES[name], "style")


@pytest.mark.parametrize("value", [-0.001, 1.001, 255.0, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("make", [torch.Tensor, torch.nn.Parameter])
def test_check_image_refuses_values_outside(image, value, make):
    image = image.clone()
    image[0, 1, 2, 3] = value
    with pytest.raises(ImageError, match=f"{value:.3g}" if math.isfinite(value) else "NaN"):
        check_image(make(image))


def test_to_uint8_rounds_to_the_nearest_level():
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = levels[0].permute(1, 2, 0).to(torch.uint8).numpy()
    for shift in (-0.49, 0, 0.49):
        pixels = to_uint8((levels + shift) / 255)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, expected)


def test_to_uint8_has_height_width_channels():
    pixels = to_uint8(load_image(encode(quarters(), "PNG")))
    assert np.array_equal(pixels, np.asarray(quarters()))


def test_the_largest_image_is_100_megapixels():
    assert MAX_PIXELS == 100_000_000


# --- color profiles and transparency ---------------------------------------------------------------------------------


def profile(primaries):
    """An ICC profile, version 2: a matrix of the primaries' XYZ (D50) and a gamma of 2.2."""

    def s15(*numbers):
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    def xyz(*numbers):
        return b"XYZ \0\0\0\0" + s15(*numbers)

    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"made\0" + b"\0" * 78
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0)
    tags = [(b"desc", text + b"\0" * (-len(text) % 4)), (b"wtpt", xyz(0.9642, 1.0, 0.8249))]
    tags += [(name, xyz(*color)) for name, color in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    head = struct.pack(">I4sI4s4s4s", offset + len(data), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + s15(0.9642, 1.0, 0.8249)
    return head + b"\0" * (128 - len(head)) + table + data


P3_PRIMARIES = [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]
SRGB_PRIMARIES = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7142)]
DISPLAY_P3 = profile(P3_PRIMARIES)
SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def p3_in_srgb(color):
    """By the formulas: to linear light, through XYZ to sRGB's primaries, and back."""
    xyz = np.array(P3_PRIMARIES).T @ (np.array(color) / 255) ** 2.2
    linear = np.linalg.solve(np.array(SRGB_PRIMARIES).T, xyz).clip(0, 1)
    return (np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255).tolist()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_wide_gamut_photograph_comes_in_as_srgb(file_format):
    lossless = {"quality": 100} if file_format == "JPEG" else {"lossless": True} if file_format == "WEBP" else {}
    picture = flat("RGB", (200, 100, 50), (16, 16))
    plain = load_image(encode(picture, file_format, **lossless))
    wide = load_image(encode(picture, file_format, icc_profile=DISPLAY_P3, **lossless))
    assert (wide.mean(dim=(0, 2, 3)) * 255).tolist() == pytest.approx(p3_in_srgb((200, 100, 50)), abs=4)
    assert (wide - plain).abs().max() > 0.03
    gray = flat("RGB", (128, 128, 128), (16, 16))
    assert (load_image(encode(gray, file_format, icc_profile=DISPLAY_P3, **lossless)) * 255 - 128).abs().max() < 4


def test_an_srgb_profile_changes_nothing():
    plain, tagged = (load_image(encode(noise(), "PNG", **extra)) for extra in ({}, {"icc_profile": SRGB}))
    assert (plain - tagged).abs().max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("damaged", [b"no profile", DISPLAY_P3[:100], b"\0" * 500])
def test_a_profile_that_cannot_be_used_is_passed_over(damaged):
    assert torch.equal(load_image(encode(noise(), "PNG", icc_profile=damaged)), load_image(encode(noise(), "PNG")))


def test_a_profile_leaves_transparency_as_it_is():
    picture = flat("RGBA", (200, 100, 50, 102), (8, 8))
    found = load_image(encode(picture, "PNG", icc_profile=DISPLAY_P3)).mean(dim=(0, 2, 3))
    expected = [0.4 * value / 255 + 0.6 for value in p3_in_srgb((200, 100, 50))]
    assert found.tolist() == pytest.approx(expected, abs=0.01)
    assert load_alpha(encode(picture, "PNG", icc_profile=DISPLAY_P3)).unique().tolist() == pytest.approx([0.4])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_alpha_of_any_mode(mode):
    alpha = PIL.Image.linear_gradient("L").resize((8, 6))
    picture = flat("RGBA", (10, 200, 30, 255), (8, 6))
    picture.putalpha(alpha)
    converted = picture if mode == "RGBA" else picture.convert("LA" if mode == "La" else "RGBa" if mode == "RGBa" else mode)
    found = load_alpha(converted)
    assert found.shape == (1, 1, 6, 8)
    assert (found * 255 - torch.from_numpy(np.array(alpha))).abs().max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK", "P", "I", "F", "RGBA"])
def test_what_is_opaque_has_no_alpha(mode):
    assert load_alpha(flat(mode, 1 if mode in ("I", "F") else 0 if mode in ("L", "1", "P") else "white")) is None


def test_alpha_cannot_be_read_where_the_image_cannot():
    for source in ("/no/such/file.png", b"", b"no picture", encode(noise(), "PNG")[:300]):
        with pytest.raises(ImageError):
            load_alpha(source)


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_alpha_comes_back_from_a_file(tmp_path, ending):
    image = torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    alpha = torch.arange(20).div(19).expand(1, 1, 12, 20)
    save_image(image, tmp_path / f"a.{ending}", alpha=alpha)
    assert (load_alpha(tmp_path / f"a.{ending}") - alpha).abs().max() <= 0.5 / 255 + 1e-6
    if ending != "webp":
        over_white = image * alpha + 1 - alpha
        assert (load_image(tmp_path / f"a.{ending}") - over_white).abs().max() < 0.01


def test_alpha_that_cannot_be_saved(tmp_path):
    image, alpha = torch.rand(1, 3, 12, 20), torch.ones(1, 1, 12, 20)
    for name, wrong in (("a.jpg", alpha), ("a.png", alpha[..., :10]), ("a.png", alpha[0]), ("a.png", alpha * 255)):
        with pytest.raises(ImageError):
            save_image(image, tmp_path / name, alpha=wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [torch.Tensor.to_sparse, lambda image: image.to("meta")], ids=["sparse", "meta"])
def test_a_tensor_without_values_in_memory_is_no_image(change, tmp_path):
    image = change(torch.rand(1, 3, 8, 8))
    for use in (check_image, to_uint8, lambda image: save_image(image, tmp_path / "a.png")):
        with pytest.raises(ImageError, match="memory"):
            use(image)
