"""The golden check, run by the tests and, in environments of its own, by the oldest and the newest pydantic allowed.

`python tests/wire/golden.py` reads every golden file of this version and writes it again, and fails where a byte
differs; `--add` first adds what is missing. A golden file that stands is never written over: bytes like these lie on
people's disks.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pydantic

from factory_contracts.envelope import SCHEMA_VERSION
from factory_contracts.testing import SAMPLES

FOLDER = Path(__file__).parent / "golden" / f"v{SCHEMA_VERSION}"


def names() -> tuple[str, ...]:
    """Every golden file's name, without its ending."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def golden(name: str) -> bytes:
    """The bytes of one golden file; its last line break is the editor's, not the contract's."""
    return (FOLDER / f"{name}.json").read_bytes().removesuffix(b"\n")


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
            (FOLDER / f"{name}.json").write_bytes(SAMPLES[name].write() + b"\n")
    found = tuple(differences())
    print(f"pydantic {pydantic.VERSION}: {len(names())} golden files", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
