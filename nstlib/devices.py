"""Where to compute, and in what precision."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import torch

from nstlib.arguments import shown

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def choose_device(device: torch.device | str | int | None) -> torch.device:
    """The device asked for; None takes the GPU if there is one.

    Raises:
        ValueError: it cannot be used.
    """
    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(f"device {shown(device)} cannot be used here: {str(error).splitlines()[0]}") from error
    return chosen


def fast_precision(device: torch.device | str = "cpu") -> torch.dtype:
    """``torch.bfloat16`` where ``device`` has instructions for it (AVX-512 BF16, AMX; NVIDIA since Ampere), else float32."""
    device = torch.device(device)
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        # older PyTorch cannot tell: then float32, which is right anywhere
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = device.type == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return torch.bfloat16 if fast else torch.float32


def default_fabric() -> Fabric:
    """One device, the GPU if there is one; in bfloat16 where that is fast."""
    from lightning_fabric import Fabric  # slow to import, and only training needs it

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce the precision every time
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if fast_precision(device) == torch.bfloat16 else "32-true"
    return Fabric(accelerator=device, devices=1, precision=precision)
