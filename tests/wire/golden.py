"""The golden check, run by the tests and, in environments of its own, by the oldest and the newest pydantic allowed.

`python tests/wire/golden.py` reads every golden file of every version and writes it again, and fails where a byte
differs; `--add` first adds what is missing. A golden file that stands is never written over: bytes like these lie on
people's disks.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pydantic

from factory_contracts.testing import SAMPLES

FOLDER = Path(__file__).parent / "golden"


def names() -> tuple[str, ...]:
    """Every golden file's name, without its ending."""
    return tuple(sorted(path.stem for path in FOLDER.glob("v*/*.json")))


def golden(name: str) -> bytes:
    """The bytes of one golden file; its last line break is the editor's, not the contract's."""
    return path(name).read_bytes().removesuffix(b"\n")


def path(name: str) -> Path:
    """Where it lies: with all else that can be read from the same version on."""
    return FOLDER / f"v{SAMPLES[name].value.schema_version}" / f"{name}.json"


def differences() -> Iterator[str]:
    """What is not as the golden files say."""
    for name in sorted({*names(), *SAMPLES}):
        if name not in SAMPLES or name not in names():
            yield f"{name}: a sample without a golden file, or the other way round"
        elif SAMPLES[name].write() != golden(name):
            yield f"{name}: is written differently"
        elif SAMPLES[name].read(golden(name)) != SAMPLES[name].value:
            yield f"{name}: is read differently"


def main() -> int:
    """Print what differs."""
    if "--add" in sys.argv:
        for name in SAMPLES.keys() - set(names()):
            path(name).parent.mkdir(exist_ok=True)
            path(name).write_bytes(SAMPLES[name].write() + b"\n")
    found = tuple(differences())
    print(f"pydantic {pydantic.VERSION}: {len(names())} golden files", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
