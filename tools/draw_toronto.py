"""Draw data/toronto.png: the Toronto skyline from the lake on a clear day.

The poster paints *The Scream* on a photograph of Toronto that does not come with it, so this stands in: heights, widths and
order of the buildings follow the real ones (in meters), everything else is noise from one seed.

    python tools/draw_toronto.py OUT.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.draw import polygon2mask
from skimage.transform import downscale_local_mean, resize

from nstlib.images import save_image

WIDTH, HEIGHT = 1280, 840
SUPERSAMPLING = 2
W, H = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
SHORE = int(0.70 * H)  # row of the waterline
METER = 1.0 * SUPERSAMPLING  # pixels
WEST = 75  # meters of the shore, west of Rogers Centre, that lie left of the picture
EAST = WEST + W / METER
SEED = 1893  # the year of The Scream

rng = np.random.default_rng(SEED)


def rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def noise(shape: tuple[int, int], cell: tuple[float, float], octaves: int = 5) -> np.ndarray:
    """Fractal noise in [0, 1]: ``octaves`` layers of smooth random values, each half as large and half as strong."""
    total, strength = np.zeros(shape), 1.0
    for octave in range(octaves):
        grid = [max(2, int(size / (length / 2**octave)) + 2) for size, length in zip(shape, cell, strict=True)]
        total += strength * resize(rng.random(grid), shape, order=3, mode="reflect", anti_aliasing=False)
        strength /= 2
    low, high = np.percentile(total, [0.5, 99.5])
    return np.clip((total - low) / (high - low), 0, 1)


def gradient(values: np.ndarray, stops: list[tuple[float, str]]) -> np.ndarray:
    """Colors along ``stops``, (position, color) pairs."""
    positions, colors = [p for p, _ in stops], np.array([rgb(c) for _, c in stops])
    return np.stack([np.interp(values, positions, colors[:, i]) for i in range(3)], axis=-1)


def blend(base: np.ndarray, color: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    alpha = np.asarray(alpha)[..., None] if np.ndim(alpha) else alpha
    return base * (1 - alpha) + color * alpha


def sky() -> np.ndarray:
    y = np.mgrid[0:SHORE, 0:W][0] / SHORE
    base = gradient(
        y + 0.05 * (noise((SHORE, W), (500, 1500), 3) - 0.5),
        [(0, "1f5fb8"), (0.3, "3f83d2"), (0.6, "74aae6"), (0.85, "abcdf0"), (1, "cfe2f4")],
    )

    # fair-weather clouds: heaps with bright tops and bluish bases, in perspective smaller and flatter toward the horizon
    bend = 120 * (noise((SHORE, W), (260, 600), 4) - 0.5)
    rows, columns = np.mgrid[0:SHORE, 0:W].astype(float)
    for cell, threshold, opacity in (((330, 900), 0.56, 0.95), ((150, 480), 0.60, 0.9), ((60, 260), 0.64, 0.75)):
        clouds = map_coordinates(noise((SHORE, W), cell, 7), [rows + bend, columns + 2 * bend], order=1, mode="reflect")
        density = np.clip((clouds - threshold) / 0.14, 0, 1) * np.clip(1.2 - y, 0.3, 1)
        above = np.pad(clouds, ((18, 0), (0, 0)), mode="edge")[:SHORE]
        lit = np.clip((clouds - above) * 7 + 0.62, 0, 1)  # the sun is high: tops are bright
        shade = gradient(y, [(0, "8ea9cf"), (0.6, "b3c6e0"), (1, "d3deeb")])
        light = gradient(y, [(0, "ffffff"), (0.7, "fbfbfb"), (1, "f1f4f7")])
        base = blend(base, shade * (1 - lit[..., None]) + light * lit[..., None], opacity * density)
    return base


class City:
    """Paints buildings from back to front into ``picture``; x in meters from the left edge, heights above the water."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def shape(self, points: list[tuple[float, float]], color: np.ndarray, alpha: float = 1.0) -> np.ndarray:
        """Fill a polygon given in meters with a color (or one color a pixel); returns its mask."""
        corners = np.array([(SHORE - height * METER, (x - WEST) * METER) for x, height in points])
        mask = polygon2mask((H, W), corners)
        self.picture[mask] = blend(self.picture[mask], color[mask] if color.ndim == 3 else color, alpha)
        return mask

    def tower(
        self,
        x: float,
        width: float,
        height: float,
        color: str,
        *,
        lit: float = 0.35,
        haze: float = 0.0,
        storey: float = 5.2,
        bay: float = 4.6,
        roof: list[tuple[float, float]] | None = None,
        ribs: float = 0.0,
        base: float = 0.0,
    ) -> None:
        """A building with a grid of windows; ``roof`` replaces the flat top (points as fractions of width and height)."""
        top = roof or [(0, 1), (1, 1)]
        points = [(x, base), *((x + u * width, base + v * (height - base)) for u, v in top), (x + width, base)]
        left, right = int((x - WEST) * METER), int(np.ceil((x - WEST + width) * METER))
        upper, lower = max(0, int(SHORE - height * METER) - 1), int(SHORE - base * METER)
        left, right = max(left, 0), min(right, W)
        if left >= right:
            return
        rows, columns = np.mgrid[upper:lower, left:right].astype(float)
        u = (columns / METER + WEST - x) / width
        v = (SHORE - rows) / METER
        # the sun stands in the southwest, behind the viewer's left shoulder: the east is in blue shade
        wall = rgb(color) * (1.0 - 0.28 * u + 0.22 * v / 300)[..., None]
        wall = blend(wall, rgb("fff6e2"), np.clip(0.5 - 1.3 * u, 0, 1) * 0.45)
        wall = wall * (0.9 + 0.2 * noise(wall.shape[:2], (40, 30), 3))[..., None]
        if ribs:
            wall = wall * (1 - ribs * (np.mod(columns, bay * METER) < 0.33 * bay * METER))[..., None]
        storeys, bays = int(height / storey) + 2, int(width / bay) + 2
        i, j = (v / storey).astype(int).clip(0), (u * width / bay).astype(int).clip(0)
        glass = (np.mod(v, storey) > 0.32 * storey) & (np.mod(u * width, bay) > 0.3 * bay)
        # panes mirror the sky, each at its own angle; some blinds are down
        bright = rng.random((storeys, bays)) < lit * (0.4 + 1.2 * rng.random((storeys, 1)))
        strength = 0.25 + 0.5 * rng.random((storeys, bays))
        mirrored = np.where(rng.random((storeys, bays, 1)) < 0.7, rgb("a9cdf2"), rgb("f2f1ea"))
        i, j = i.clip(0, storeys - 1), j.clip(0, bays - 1)
        dark_glass = 0.5 * wall + 0.2 * rgb("4f7fb5")
        wall = np.where(glass[..., None], dark_glass, wall)
        wall = blend(wall, mirrored[i, j], np.where(glass & bright[i, j], strength[i, j], 0))
        wall = blend(wall, rgb("bdd4ec"), haze)
        canvas = np.zeros((H, W, 3))
        canvas[upper:lower, left:right] = wall
        self.shape(points, canvas)

    def line(self, x: float, low: float, high: float, width: float, color: str) -> None:
        self.shape([(x - width / 2, low), (x - width / 6, high), (x + width / 6, high), (x + width / 2, low)], rgb(color))


def far_city(city: City) -> None:
    x = -10.0
    while x < EAST:
        width = rng.uniform(16, 38)
        near_core = np.exp(-(((x - 830) / 330) ** 2))
        height = rng.uniform(38, 85) + near_core * rng.uniform(20, 120)
        city.tower(x, width, height, "8d97a8", lit=0.2, haze=rng.uniform(0.3, 0.45), storey=4.5, bay=4)
        x += width * rng.uniform(0.7, 1.35)


def rogers_centre(city: City, x: float, width: float) -> None:
    """The stadium: a drum of concrete and three nested shells of white roof."""
    city.tower(x, width, 40, "c9c8c4", lit=0.3, storey=9, bay=8)
    t = np.linspace(np.pi, 0, 60)
    shells = [(0.5, 0.49, 50, "f4f6f8"), (0.55, 0.42, 45, "e2e7ec"), (0.6, 0.33, 37, "cdd5de")]
    for center, radius, rise, color in shells:
        arc = [(x + width * (center + radius * np.cos(a)), 38 + rise * np.sin(a) ** 0.85) for a in t]
        mask = city.shape(arc, rgb(color))
        columns = np.nonzero(mask.any(axis=0))[0]
        u = (np.arange(W) - columns[0]) / max(1, np.ptp(columns))
        light = np.clip(0.75 - 1.5 * u, 0, 1) * 0.5
        city.picture[mask] = blend(city.picture[mask], rgb("ffffff"), np.broadcast_to(light, (H, W))[mask])
        for k in np.linspace(0.1, 0.9, 9):  # ribs of the roof
            a = np.pi * (1 - k)
            top = (x + width * (center + radius * np.cos(a)), 38 + rise * np.sin(a) ** 0.85)
            foot = (x + width * (center + 0.93 * radius * np.cos(a)), 38)
            city.shape([(foot[0] - 0.5, foot[1]), (top[0] - 0.5, top[1]), (top[0] + 0.6, top[1]), (foot[0] + 0.6, foot[1])],
                       rgb("9aa5b2"), 0.55)  # fmt: skip
        city.line(x + width * center, 38 + rise - 1, 38 + rise + 4, 2, "ff6a5a")


def cn_tower(city: City, x: float) -> None:
    """553 m: three-legged shaft, main pod at 342 m, SkyPod at 447 m, antenna. Half-widths in meters by height.

    A third stouter than it is, and rather dark: at 512 pixels the true shaft would be three pixels wide.
    """
    profile = [(0, 36), (20, 27), (50, 21), (100, 17), (180, 13.5), (260, 11.5), (335, 10), (365, 7.5), (445, 6), (457, 5)]
    left = [(x - w, h) for h, w in profile]
    right = [(x + w, h) for h, w in reversed(profile)]
    columns = (np.arange(W) / METER + WEST - x) / 12
    shaft = np.broadcast_to(
        blend(np.ones((W, 1)) * rgb("767a82"), rgb("dcd8ce"), np.clip(-0.15 - 0.95 * columns, 0, 0.8))[None], (H, W, 3)
    )
    shaft = shaft * (0.86 + 0.28 * noise((H, W), (60, 14), 3))[..., None]
    city.shape(left + right, shaft)
    # the elevator shafts between the legs, and the gap at the foot
    city.shape([(x - 4.2, 0), (x - 2.6, 335), (x + 2.6, 335), (x + 4.2, 0)], rgb("4c5058"), 0.75)
    city.shape([(x + 8, 0), (x + 4.8, 180), (x + 5.6, 330), (x + 9.6, 330), (x + 13, 180), (x + 34, 0)], rgb("4a4e58"), 0.5)
    for h in range(14, 335, 16):
        city.shape([(x - 1.1, h), (x - 1.1, h + 5), (x + 1.1, h + 5), (x + 1.1, h)], rgb("3c4658"), 0.8)
    # main pod: radome, observation decks, restaurant
    pod = [(328, 12), (335, 22), (342, 29), (347, 29.5), (351, 28), (356, 25), (361, 22), (366, 12), (369, 9)]
    city.shape([(x - w, h) for h, w in pod] + [(x + w, h) for h, w in reversed(pod)], shaft * 0.9)
    city.shape([(x - 26, 339), (x - 29.5, 344), (x + 29.5, 344), (x + 26, 339)], rgb("f0efec"), 0.9)
    city.shape([(x - 28.5, 347.5), (x - 28, 351), (x + 28, 351), (x + 28.5, 347.5)], rgb("39465c"))
    city.shape([(x - 25, 353.5), (x - 24.5, 356.5), (x + 24.5, 356.5), (x + 25, 353.5)], rgb("9fc0e4"), 0.95)
    for k in np.linspace(-26, 26, 17):
        city.shape([(x + k - 0.6, 348), (x + k - 0.6, 350.6), (x + k + 0.6, 350.6), (x + k + 0.6, 348)], rgb("86abd6"))
    # SkyPod and antenna
    sky_pod = [(442, 7), (445.5, 12), (452, 12), (457, 7)]
    city.shape([(x - w, h) for h, w in sky_pod] + [(x + w, h) for h, w in reversed(sky_pod)], rgb("6c7079"))
    city.shape([(x - 11.6, 448), (x - 11.6, 450.5), (x + 11.6, 450.5), (x + 11.6, 448)], rgb("9fc0e4"))
    for low, high, width, color in ((456, 485, 8.0, "8b8f98"), (485, 512, 6.2, "e4e2de"), (512, 535, 4.6, "c25a50"),
                                     (535, 553, 3.2, "eeeeec")):  # fmt: skip
        city.shape([(x - width / 2, low), (x - width / 2.3, high), (x + width / 2.3, high), (x + width / 2, low)], rgb(color))
    for h in (485, 535, 553):
        city.shape([(x - 2, h - 2), (x - 2, h + 2), (x + 2, h + 2), (x + 2, h - 2)], rgb("ff4a3c"))


def downtown(city: City) -> None:
    """The named towers from west to east, then the condominiums along the shore in front of them."""
    stepped = [(0, 0.86), (0.12, 0.86), (0.12, 0.93), (0.26, 0.93), (0.26, 1), (0.74, 1), (0.74, 0.95), (0.9, 0.95),
               (0.9, 0.88), (1, 0.88)]  # fmt: skip
    slant = [(0, 0.9), (0.5, 1), (1, 0.94)]
    curve = [(0, 0.72), (0.25, 0.84), (0.5, 0.93), (0.75, 0.98), (1, 1)]
    city.tower(640, 44, 186, "5d6a92", lit=0.4)  # RBC Centre
    city.tower(700, 40, 206, "4f5f8c", lit=0.45, roof=slant)  # Ritz-Carlton
    city.tower(752, 52, 214, "2a2836", lit=0.5, storey=4.6, bay=4.0)  # Toronto-Dominion Bank Tower, black
    city.tower(812, 62, 298, "cdc2c6", lit=0.38, ribs=0.18)  # First Canadian Place, white
    for antenna in (828, 858):
        city.line(antenna, 298, 340, 3, "d9ced4")
    city.tower(786, 40, 178, "24222f", lit=0.5, storey=4.6, bay=4.0)  # TD North Tower
    city.tower(888, 52, 275, "8c4036", lit=0.36, roof=stepped)  # Scotia Plaza, red granite
    city.tower(952, 46, 239, "a7a2b0", lit=0.42, ribs=0.12)  # Commerce Court West
    city.tower(1006, 44, 250, "51698f", lit=0.4, roof=stepped)  # TD Canada Trust Tower, Brookfield Place
    city.line(1028, 250, 291, 5, "c7d0de")
    city.tower(1060, 40, 208, "587292", lit=0.42, roof=[(0, 0.93), (0.5, 1), (1, 0.93)])  # Bay Wellington Tower
    city.tower(1122, 40, 205, "7386a8", lit=0.45, roof=curve)  # L Tower
    city.tower(1190, 34, 160, "6c7796", lit=0.4)
    city.tower(1246, 44, 188, "5b6688", lit=0.42)
    city.tower(1322, 36, 150, "76708c", lit=0.4)
    city.tower(1384, 40, 172, "566184", lit=0.42)


def waterfront(city: City) -> None:
    for x, width, height, color in (
        (-8, 38, 118, "75809f"), (36, 34, 142, "66759a"), (78, 36, 104, "8a8aa4"), (122, 30, 150, "5f6f96"),
        (160, 36, 132, "7c7f9c"), (206, 30, 158, "65769e"), (244, 34, 110, "8c86a0"),
        (566, 34, 128, "6a7aa0"), (606, 30, 150, "5d6d98"), (668, 30, 116, "7f88a8"), (724, 34, 138, "6d7ba2"),
        (872, 30, 112, "8590ae"), (926, 32, 134, "66769e"), (986, 26, 96, "8c90aa"), (1040, 30, 124, "6a789e"),
        (1090, 34, 142, "5b6a94"), (1150, 36, 108, "8188a6"), (1214, 30, 130, "66749a"), (1284, 36, 96, "868aa6"),
        (1344, 32, 122, "6a769c"), (1412, 40, 104, "7a80a0"),
    ):  # fmt: skip
        city.tower(x, width, height, color, lit=0.5, storey=4.4, bay=4.2)
    x = 0.0
    while x < EAST:  # quays and low buildings
        width = rng.uniform(18, 60)
        city.tower(
            x, width, rng.uniform(12, 34), rng.choice(["b3a89a", "9aa0a8", "c4b5a2", "868d98"]), lit=0.65, storey=5, bay=5
        )
        x += width * rng.uniform(0.8, 1.3)
    for x in np.arange(0, EAST, 3.4):  # trees
        x += rng.uniform(-2, 2)
        radius, height = rng.uniform(3, 6.5), rng.uniform(6, 14)
        t = np.linspace(0, 2 * np.pi, 14)
        wobble = 1 + 0.25 * rng.standard_normal(14)
        color = rgb(rng.choice(["3d6b35", "4a7a3c", "5a8544", "36602f"])) * rng.uniform(0.8, 1.3)
        city.shape([(x + radius * w * np.cos(a), height * 0.62 + 0.62 * height * w * np.sin(a) * 0.6)
                    for a, w in zip(t, wobble, strict=True)], color)  # fmt: skip
    city.shape([(0, 0), (0, 2.6), (EAST, 2.6), (EAST, 0)], rgb("8f8d88"))


def lake(above: np.ndarray) -> np.ndarray:
    """What is above the shore, mirrored, broken up by waves that grow toward the viewer."""
    depth = H - SHORE
    y, x = np.mgrid[0:depth, 0:W].astype(float)
    near = y / depth
    # waves: crests are long across and short in depth; in perspective both grow toward the viewer
    row = np.log1p(7 * near) / np.log(8)
    waves = np.zeros((depth, W))
    for frequency, cell, strength in ((34, 300, 1.0), (70, 150, 0.7), (130, 80, 0.4)):
        field = noise((frequency * 6, W), (6, cell), 3)
        waves += strength * map_coordinates(field, [row * (frequency * 6 - 1), x], order=1, mode="reflect")
    waves = (waves - waves.mean()) / waves.std()
    source_row = SHORE - 1 - y * 1.18 + waves * (3 + 34 * near)
    source_column = x + waves * (2 + 15 * near) + 5 * (noise((depth, W), (10, 240), 2) - 0.5)
    mirror = np.stack(
        [map_coordinates(above[..., i], [source_row, source_column], order=1, mode="reflect") for i in range(3)], axis=-1
    )
    mirror = 0.5 * mirror + 0.5 * gaussian_filter(mirror, (14, 2, 0))  # reflections smear downwards
    water = gradient(near, [(0, "6f9cc4"), (0.35, "3f76ad"), (1, "1c4f8a")])
    picture = blend(mirror, water, 0.38 + 0.34 * near**0.8)
    crest = np.clip((waves - 0.7) / 1.4, 0, 1)
    trough = np.clip((-waves - 0.5) / 1.6, 0, 1)
    picture = blend(picture, rgb("163f74"), 0.5 * trough * (0.35 + 0.65 * near))
    glitter = np.exp(-(((x / W - 0.16) / (0.12 + 0.25 * near)) ** 2))
    picture = blend(picture, gradient(glitter, [(0, "b9d5ee"), (1, "ffffff")]), crest * (0.3 + 0.5 * glitter))
    picture[:6] *= 0.6  # the shadow under the quay
    return picture


def sailing_boat(picture: np.ndarray, x: float, row: float, size: float) -> None:
    """A boat on the water: hull, mast, two sails; ``row`` of the waterline and ``size`` in pixels."""

    def fill(points: list[tuple[float, float]], color: str, alpha: float = 1.0) -> None:
        corners = np.array([(row - v * size, x + u * size) for u, v in points])
        mask = polygon2mask((H, W), corners)
        picture[mask] = blend(picture[mask], rgb(color), alpha)

    fill([(-0.5, -0.04), (0.5, -0.04), (0.3, -0.9), (-0.2, -0.7)], "2a5288", 0.35)
    fill([(-0.46, 0), (-0.55, 0.14), (0.55, 0.14), (0.4, 0)], "f2f2f0")
    fill([(-0.015, 0.14), (-0.015, 1.5), (0.015, 1.5), (0.015, 0.14)], "6b6a66")
    fill([(-0.03, 0.2), (-0.03, 1.45), (-0.42, 0.2)], "ffffff")
    fill([(0.04, 0.22), (0.04, 1.3), (0.5, 0.22)], "e9edf2")


def draw() -> np.ndarray:
    """The picture, (HEIGHT, WIDTH, 3), in [0, 1]."""
    picture = np.zeros((H, W, 3))
    picture[:SHORE] = sky()
    city = City(picture)
    far_city(city)
    rogers_centre(city, 296, 205)
    cn_tower(city, 536)
    downtown(city)
    waterfront(city)
    picture[SHORE:] = lake(picture[:SHORE])
    sailing_boat(picture, 0.235 * W, SHORE + 0.30 * (H - SHORE), 90)
    sailing_boat(picture, 0.66 * W, SHORE + 0.17 * (H - SHORE), 52)
    picture += 0.012 * rng.standard_normal((H, W, 1)) + 0.02 * (noise((H, W), (7, 7), 2) - 0.5)[..., None]
    return downscale_local_mean(picture.clip(0, 1), (SUPERSAMPLING, SUPERSAMPLING, 1))


if __name__ == "__main__":
    import torch

    if len(sys.argv) != 2:
        sys.exit(__doc__)
    save_image(torch.from_numpy(draw()).permute(2, 0, 1)[None].float(), Path(sys.argv[1]))
