"""How much memory the graphics processors of this machine have: asked of NVIDIA's library or of the kernel's files."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final, NamedTuple, Protocol

NVIDIA: Final = "libnvidia-ml.so.1"
CARDS: Final = Path("/sys/class/drm")


class Memory(NamedTuple):
    """Bytes, of all processors together."""

    free: int
    total: int


class Nvml(Protocol):
    """What is used of NVIDIA's library; each call returns 0 when it worked."""

    def nvmlInit_v2(self) -> int:
        """Begin."""
        ...

    def nvmlDeviceGetCount_v2(self, count: object) -> int:
        """How many there are."""
        ...

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: object) -> int:
        """One of them."""
        ...

    def nvmlDeviceGetMemoryInfo(self, handle: object, memory: object) -> int:
        """Its memory."""
        ...


class _NvmlMemory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Gpu:
    """The graphics processors of this machine, looked for once."""

    def __init__(self, *, nvidia: str = NVIDIA, cards: Path = CARDS) -> None:
        self._nvml = _loaded(nvidia)
        self._cards = tuple(sorted(path.parent for path in cards.glob("card*/device/mem_info_vram_total")))

    def memory(self) -> Memory | None:
        """The memory of all together; None where there is none."""
        found = [] if self._nvml is None else nvidia_memory(self._nvml)
        found += [memory for card in self._cards if (memory := _read(card)) is not None]
        return Memory(sum(one.free for one in found), sum(one.total for one in found)) if found else None


def nvidia_memory(nvml: Nvml) -> list[Memory]:
    """The memory of each processor that the library knows."""
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found: list[Memory] = []
    for index in range(count.value):
        handle, memory = ctypes.c_void_p(), _NvmlMemory()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            continue
        if not nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
            found.append(Memory(memory.free, memory.total))
    return found


def _loaded(name: str) -> Nvml | None:
    try:
        nvml: Nvml = ctypes.CDLL(name)
    except OSError:
        return None
    return None if nvml.nvmlInit_v2() else nvml


def _read(card: Path) -> Memory | None:
    try:
        total = int((card / "mem_info_vram_total").read_text())
        return Memory(total - int((card / "mem_info_vram_used").read_text()), total)
    except (OSError, ValueError):
        return None
