"""The codes by which a bot gets an owner: one at a time for each bot, kept as a digest until its hour is over."""

import json
import logging
import secrets
from pathlib import Path

from factory_cli.home import write_atomically
from hub.kernel.guards import CODE_BYTES, Pairing, digest_of

GOOD_FOR = 3600.0

logger = logging.getLogger(__name__)


def offer(folder: Path, identity: str, now: float) -> tuple[str, float]:
    """A fresh code for the bot, and until when it is good; the one before it is good no longer."""
    code, expires_at = secrets.token_hex(CODE_BYTES), now + GOOD_FOR
    content = {"digest": digest_of(code), "expires_at": expires_at}
    write_atomically(_path(folder, identity), json.dumps(content) + "\n")
    return code, expires_at


def offered(folder: Path, platform: str, bot_id: str) -> Pairing | None:
    """The code that is on offer for the bot, as it lies there now."""
    path = _path(folder, f"{platform}-{bot_id}")
    try:
        match json.loads(path.read_text(encoding="utf-8")):
            case {"digest": str(digest), "expires_at": float(expires_at)} if digest.isascii():
                return Pairing(digest, expires_at)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read: %s", path, error)
        return None
    logger.warning("%s holds no code", path)
    return None


def _path(folder: Path, identity: str) -> Path:
    return folder / f"pairing-{identity}.json"
