"""Serve a worker where nothing of the system is installed but its two libraries: `python -m factory_nats ./worker.py`.

`NATS_URL` says where the bus is. `factory worker add` made two keys: `--key` names the one that lets in, beside which
the one of the store is found, or `NATS_SEED` and `NATS_STORE_SEED` hold both. The worker goes by the file's name, or by
`--name`. Without the second key nothing is taken or made that is too large for a message.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from factory_nats import process
from factory_nats.identity import Identity
from factory_nats.loading import NoWorker, load
from factory_nats.satellite import serve


def main() -> int:
    """The exit status: 0 when it was told to end, 2 when it was started wrongly."""
    parser = argparse.ArgumentParser(prog="python -m factory_nats", description="Serve a worker.")
    parser.add_argument("file", type=Path, help="the file that declares it")
    parser.add_argument("--url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), help="else $NATS_URL")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key, else $NATS_SEED")
    parser.add_argument("--name", help="its name on the bus, else the key's")
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        identity = _identity(told.name or "", told.key)
        served = load(told.file)
    except (NoWorker, OSError, UnicodeDecodeError) as error:
        print(f"factory_nats: {error}", file=sys.stderr)
        return 2
    return process.run(serve(told.url, identity, served))


def _identity(name: str, key: Path | None) -> Identity:
    """Who the worker is. Raises `NoWorker` where nobody says it."""
    if key is None:
        if not name:
            raise NoWorker("say by --name who it is, or by --key where its key lies")
        seed, store = os.environ.get("NATS_SEED"), os.environ.get("NATS_STORE_SEED")
    else:
        beside = key.with_name(f"{key.stem}.store{key.suffix}")
        seed = key.read_text(encoding="ascii").strip()
        store = beside.read_text(encoding="ascii").strip() if beside.exists() else None
    name = name or (key.stem if key is not None else "")
    return Identity(name, seed, store=Identity(name, store) if store else None)


if __name__ == "__main__":
    process.leave(main())
