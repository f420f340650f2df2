"""A small disk of its own for a server's store: an ext4 in a file, which can be filled up, and lose its power.

It needs the rights to mount. The mounts are seen by the processes of this run alone, and vanish with them.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

_NEW_MOUNTS = 0x20000
_PRIVATE = 1 << 18 | 1 << 14
# _IOR('X', 125, __u32): the file system takes nothing more. 2: what is not on the disk yet never gets there.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = 2
_BALLAST = "ballast"


class NoDisk(Exception):
    """This machine does not let us have a disk of our own; the sentence says why."""


class Disk:
    """One file system, mounted at one folder."""

    def __init__(self, image: Path, at: Path, megabytes: int) -> None:
        self._image = image
        self._at = at
        self._size = megabytes * 1024 * 1024

    def open(self) -> None:
        """Make it and mount it. Raises `NoDisk`."""
        if shutil.which("mkfs.ext4") is None:
            raise NoDisk("there is no mkfs.ext4")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_MOUNTS) or libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None):
            raise NoDisk(f"mounts of our own are not allowed: {os.strerror(ctypes.get_errno())}")
        self._at.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(self._size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self._image)], check=True)
        self.mount()

    def mount(self) -> None:
        """What was cut off is there again, as far as it had reached the disk. Raises `NoDisk`."""
        told = subprocess.run(
            ["mount", "-o", "loop", str(self._image), str(self._at)], capture_output=True, text=True, check=False
        )
        if told.returncode:
            raise NoDisk(told.stderr.strip())

    def unmount(self) -> None:
        """Nobody uses it any more."""
        subprocess.run(["umount", "-l", str(self._at)], check=False, capture_output=True)

    def fill(self) -> None:
        """Leave no room."""
        file = os.open(self._at / _BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        piece = self._size
        written = 0
        try:
            while piece >= 512:
                try:
                    os.posix_fallocate(file, written, piece)
                    written += piece
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2
        finally:
            os.close(file)

    def relieve(self) -> None:
        """There is room again."""
        (self._at / _BALLAST).unlink(missing_ok=True)

    def cut(self) -> None:
        """The power fails: every write from now on does, and what was not synced is gone. Raises `NoDisk`."""
        folder = os.open(self._at, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _WITHOUT_FLUSHING.to_bytes(4, "little"))
        except OSError as error:
            raise NoDisk(f"the kernel does not let a file system be shut down: {error.strerror}") from None
        finally:
            os.close(folder)
