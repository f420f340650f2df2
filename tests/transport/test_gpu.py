"""The memory of graphics processors, where there are any."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from factory_nats.gpu import Gpu, Memory, nvidia_memory


class Library:
    """NVIDIA's library with two processors, one of which does not answer."""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: object) -> int:
        ctypes.cast(_address(count), ctypes.POINTER(ctypes.c_uint))[0] = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: object) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: object, memory: object) -> int:
        fields = ctypes.cast(_address(memory), ctypes.POINTER(ctypes.c_ulonglong))
        fields[0], fields[1], fields[2] = 100, 30, 70
        return 0


def _address(reference: object) -> ctypes.c_void_p:
    assert isinstance(reference, type(ctypes.byref(ctypes.c_int())))
    return ctypes.cast(reference, ctypes.c_void_p)


def card(folder: Path, name: str, total: str, used: str) -> None:
    device = folder / name / "device"
    device.mkdir(parents=True)
    (device / "mem_info_vram_total").write_text(total)
    (device / "mem_info_vram_used").write_text(used)


def test_where_there_is_no_processor_there_is_no_memory(tmp_path: Path) -> None:
    assert Gpu(nvidia="libnobody.so", cards=tmp_path).memory() is None


def test_the_memory_of_all_cards_is_added_up(tmp_path: Path) -> None:
    card(tmp_path, "card0", "1000\n", "400\n")
    card(tmp_path, "card1", "500\n", "0\n")

    assert Gpu(nvidia="libnobody.so", cards=tmp_path).memory() == Memory(free=1100, total=1500)


@pytest.mark.parametrize("said", ["", "much"])
def test_a_card_that_says_nothing_to_the_purpose_is_left_out(tmp_path: Path, said: str) -> None:
    card(tmp_path, "card0", "1000", said)

    assert Gpu(nvidia="libnobody.so", cards=tmp_path).memory() is None


def test_nvidias_processors_are_asked_one_by_one() -> None:
    assert nvidia_memory(Library()) == [Memory(free=30, total=100)]
