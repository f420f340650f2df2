"""Serve a worker where nothing of the system is installed but its two libraries: `python -m factory_nats ./worker.py`.

`NATS_URL` says where the bus is. The key that `factory worker add` made is the file that `--key` names, or what
`NATS_SEED` holds; the worker goes by the file's name, or by `--name`.
"""

import argparse
import logging
import os
import sys
import threading
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
        seed = os.environ.get("NATS_SEED") if told.key is None else told.key.read_text(encoding="ascii").strip()
        name = told.name or (told.key.stem if told.key is not None else "")
        if not name:
            raise NoWorker("say by --name who it is, or by --key where its key lies")
        served = load(told.file)
    except (NoWorker, OSError, UnicodeDecodeError) as error:
        print(f"factory_nats: {error}", file=sys.stderr)
        return 2
    return process.run(serve(told.url, Identity(name, seed), served))


def leave(status: int) -> None:
    """End the process, whatever still computes in a thread that nobody waits for."""
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main())
