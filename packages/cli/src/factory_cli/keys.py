"""The secrets by which processes know each other on the bus: nkey seeds, made at first use."""

import os
import stat
from pathlib import Path

from factory_cli.document import BadConfiguration
from factory_cli.home import write_atomically


def seed_of(folder: Path, identity: str) -> str:
    """The identity's secret, which is made where there is none."""
    path = folder / f"{identity}.nk"
    try:
        seed = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return _made(path)
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(path, None, "", f"cannot be read as a key: {error}") from error
    if not seed:
        raise BadConfiguration(path, None, "", "holds no key; remove it, and a new one is made at the next start")
    return seed


def renew(folder: Path, identity: str) -> tuple[str, str]:
    """Give the identity a new secret in the place of the old one; both are returned."""
    from factory_nats.identity import generate_seed

    old, new = seed_of(folder, identity), generate_seed()
    write_atomically(folder / f"{identity}.nk", f"{new}\n")
    return old, new


def public_key_of(folder: Path, identity: str) -> str:
    """What the server is told about the identity, whose secret is made where there is none."""
    from factory_nats.identity import public_key

    try:
        return public_key(seed_of(folder, identity))
    except ValueError as error:
        raise BadConfiguration(folder / f"{identity}.nk", None, "", str(error)) from error


def exposed(folder: Path) -> tuple[Path, ...]:
    """The secrets, platforms' tokens and codes among them, that others than their owner may read."""
    return tuple(path for path in sorted(folder.glob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077)


def _made(path: Path) -> str:
    from factory_nats.identity import generate_seed

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(f"{generate_seed()}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link refuses to replace: of two processes that start at once, both go on with the first one's key.
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    return path.read_text(encoding="ascii").strip()
