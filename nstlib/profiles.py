"""Every size and count that depends on the machine, in one place.

``NSTLIB_PROFILE`` chooses: ``smoke`` (tests: everything runs, nothing looks good), ``cpu`` (a laptop) or ``gpu``. Without it:
``gpu`` where there is a CUDA device, else ``cpu``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

_FIGURES = Path(__file__).parent.parent / "figures"


@dataclass(frozen=True)
class Profile:
    """Sizes are the longer side in pixels."""

    name: str
    first_size: int  # the first picture, in notebook 00
    first_steps: int
    transfer_size: int  # Figure 2
    transfer_steps: int
    reconstruction_size: int  # Figure 1
    reconstruction_steps: int
    grid_size: int  # content/style ratio against depth
    grid_steps: int
    frame_size: int  # shorter side of the frames that make replicate trains on
    frame_recipe: str  # of nstlib.colorizer.RECIPES
    frames_per_epoch: int
    frame_epochs: int  # the poster's 30, but in tests
    live_frames: int  # an epoch of the short training inside a notebook, which has frames as small as the cpu profile's
    live_epochs: int
    test_frames: int  # held-out frames that Table 1 is measured on
    figures: Path  # where pictures are saved


PROFILES = {
    "smoke": Profile("smoke", 64, 2, 64, 4, 64, 3, 64, 2, 32, "laptop", 32, 2, 32, 2, 8, _FIGURES / "smoke"),
    "cpu": Profile("cpu", 160, 60, 512, 300, 192, 120, 192, 80, 64, "laptop", 2400, 30, 480, 3, 512, _FIGURES),
    "gpu": Profile("gpu", 256, 100, 1024, 900, 384, 300, 384, 300, 256, "poster", 5008, 30, 1600, 3, 512, _FIGURES),
}


def current() -> Profile:
    """The profile in force.

    Raises:
        ValueError: ``NSTLIB_PROFILE`` is none of smoke, cpu, gpu.
    """
    name = os.environ.get("NSTLIB_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"NSTLIB_PROFILE must be one of {', '.join(PROFILES)}, not {name!r}")
    PROFILES[name].figures.mkdir(parents=True, exist_ok=True)
    return PROFILES[name]
