"""Every size and count that depends on the machine, in one place.

``NSTLIB_PROFILE`` chooses: ``smoke`` (tests: everything runs, nothing looks good), ``cpu`` (a laptop) or ``gpu``. Without it:
``gpu`` where there is a CUDA device, else ``cpu``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent  # of the repository
FIGURES = ROOT / "figures"


@dataclass(frozen=True)
class Profile:
    """Sizes are the longer side in pixels, those of frames the shorter."""

    name: str
    first_size: int  # the first picture, in notebook 00
    first_steps: int
    transfer_size: int  # Figure 2
    transfer_steps: int
    reconstruction_size: int  # Figure 1
    reconstruction_steps: int
    gallery_size: int  # the same photographs in four paintings' styles
    gallery_steps: int
    grid_size: int  # content/style ratio against depth
    grid_steps: int
    lab_size: int  # the live lab, in notebook 04
    lab_steps: int  # until it has its full size
    lab_chunk: int  # steps a press of a button
    frame_size: int  # shorter side of the frames that `make replicate` trains on
    frame_recipe: str  # of nstlib.colorizer.RECIPES
    frames_per_epoch: int
    frame_epochs: int  # the poster's 30, but in tests
    live_frames: int  # an epoch of the short training inside a notebook, at the same size
    live_epochs: int
    test_frames: int  # held-out frames that Table 1 is measured on
    ablation_size: int  # shorter side of the frames of the variants in notebooks 06 and 09 to 11
    ablation_frames: int  # an epoch of these
    ablation_epochs: int
    patches: int  # medical ones, all of them
    medical_frames: int  # an epoch of the variants in notebook 12
    medical_epochs: int
    key_frame_pairs: int  # an epoch of the colorizers that are shown colors, in notebook 13; at ``frame_size``
    key_frame_epochs: int
    key_frame_tests: int  # pairs of frames that they are measured on, in each split
    clip_frames: int  # of the clips that they color
    fast_style_size: int  # side of the pieces of photographs that a network learns a painting from
    fast_style_pieces: int  # an epoch
    fast_style_epochs: int
    fast_style_steps: int  # of the search that it is compared with
    figures: Path  # where figures and tables are saved; made when something is saved there


PROFILES = {
    "smoke": Profile(
        name="smoke",
        first_size=64,
        first_steps=2,
        transfer_size=64,
        transfer_steps=4,
        reconstruction_size=64,
        reconstruction_steps=3,
        gallery_size=64,
        gallery_steps=4,
        grid_size=64,
        grid_steps=2,
        lab_size=64,
        lab_steps=6,
        lab_chunk=2,
        frame_size=32,
        frame_recipe="laptop",
        frames_per_epoch=32,
        frame_epochs=2,
        live_frames=32,
        live_epochs=2,
        test_frames=8,
        ablation_size=32,
        ablation_frames=32,
        ablation_epochs=2,
        patches=16,
        medical_frames=16,
        medical_epochs=4,
        key_frame_pairs=16,
        key_frame_epochs=2,
        key_frame_tests=4,
        clip_frames=4,
        fast_style_size=64,
        fast_style_pieces=8,
        fast_style_epochs=2,
        fast_style_steps=2,
        figures=FIGURES / "smoke",
    ),
    "cpu": Profile(
        name="cpu",
        first_size=320,
        first_steps=80,
        transfer_size=512,
        transfer_steps=220,
        reconstruction_size=192,
        reconstruction_steps=100,
        gallery_size=288,
        gallery_steps=100,
        grid_size=192,
        grid_steps=60,
        lab_size=224,
        lab_steps=60,
        lab_chunk=20,
        frame_size=256,
        frame_recipe="laptop",
        frames_per_epoch=3000,
        frame_epochs=30,
        live_frames=480,
        live_epochs=3,
        test_frames=512,
        ablation_size=128,
        ablation_frames=3200,
        ablation_epochs=12,
        patches=480,
        medical_frames=320,
        medical_epochs=20,
        key_frame_pairs=960,
        key_frame_epochs=25,
        key_frame_tests=128,
        clip_frames=120,
        fast_style_size=256,
        fast_style_pieces=400,
        fast_style_epochs=20,
        fast_style_steps=300,
        figures=FIGURES,
    ),
    "gpu": Profile(
        name="gpu",
        first_size=320,
        first_steps=120,
        transfer_size=1024,
        transfer_steps=900,
        reconstruction_size=384,
        reconstruction_steps=300,
        gallery_size=512,
        gallery_steps=500,
        grid_size=384,
        grid_steps=300,
        lab_size=512,
        lab_steps=150,
        lab_chunk=50,
        frame_size=256,
        frame_recipe="poster",
        frames_per_epoch=5008,
        frame_epochs=30,
        live_frames=1600,
        live_epochs=3,
        test_frames=512,
        ablation_size=256,
        ablation_frames=5008,
        ablation_epochs=30,
        patches=480,
        medical_frames=834,
        medical_epochs=60,
        key_frame_pairs=3200,
        key_frame_epochs=13,
        key_frame_tests=64,
        clip_frames=120,
        fast_style_size=384,
        fast_style_pieces=1200,
        fast_style_epochs=20,
        fast_style_steps=500,
        figures=FIGURES,
    ),
}


def current() -> Profile:
    """The profile in force.

    Raises:
        ValueError: ``NSTLIB_PROFILE`` is none of smoke, cpu, gpu.
    """
    name = os.environ.get("NSTLIB_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"NSTLIB_PROFILE must be one of {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]
