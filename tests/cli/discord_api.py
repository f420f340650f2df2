"""The little of Discord's API that a set-up asks."""

import json
import re
from contextlib import AbstractContextManager
from email.message import Message

from tests.cli.platform_server import PlatformServer, serving

TOKEN = "MTA4MTIzNDU2Nzg5MDEyMzQ1.Gx1y2z.a_secret_that_nobody_may_ever_see-00000"
OTHER_TOKEN = "OTk5MTIzNDU2Nzg5MDEyMzQ1.Gx1y2z.another_secret_that_nobody_may_see-0"
BASE = "/api/v10"
BOT: dict[str, object] = {
    "id": "1081234567890123450",
    "username": "Zoë's Helper",
    "discriminator": "1234",
    "global_name": None,
    "bot": True,
}
READS_CONTENT = 1 << 19
APPLICATION: dict[str, object] = {"id": "777234567890123450", "name": "Helper", "flags": READS_CONTENT | 1 << 23}

# What Discord asks of a client's name for itself; another is turned away before anything else.
_NAMED = re.compile(r"DiscordBot \(https?://[^ ,)]+, [^ )]+\)( .*)?")


class Api(PlatformServer):
    """Knows one bot and its application."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = {TOKEN}
        self.answers: dict[str, object] = {"users/@me": dict(BOT), "applications/@me": dict(APPLICATION)}

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"{super().url}{BASE}"

    def answer(self, method: str, path: str, headers: Message) -> tuple[int, bytes]:
        """What is said to one request."""
        asked = path.removeprefix(f"{BASE}/")
        if not _NAMED.fullmatch(headers.get("User-Agent", "")):
            return 403, b"error code: 1010"
        if method != "GET" or asked not in self.answers:
            return 404, b'{"message": "404: Not Found", "code": 0}'
        said = headers.get("Authorization", "")
        if said.removeprefix("Bot ") not in self.tokens or not said.startswith("Bot "):
            # As unkind as can be: the words quote the token.
            return 401, json.dumps({"message": f"401: Unauthorized {said}", "code": 0}).encode()
        return 200, json.dumps(self.answers[asked]).encode()


def discord() -> AbstractContextManager[Api]:
    """The server, until the end of the block."""
    return serving(Api())
