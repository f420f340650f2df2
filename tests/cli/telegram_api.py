"""The little of Telegram's Bot API that a set-up asks."""

import json
from contextlib import AbstractContextManager
from email.message import Message

from tests.cli.platform_server import PlatformServer, serving

TOKEN = "123456789:AAF-a_secret_that_nobody_may_ever_see"
OTHER_TOKEN = "987654321:BBF-another_secret_that_nobody_may_see"
BOT: dict[str, object] = {"id": 123456789, "is_bot": True, "first_name": "Zoë's Helper", "username": "zoe_helper_bot"}


class Api(PlatformServer):
    """Knows one bot."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = {TOKEN}
        self.answers: dict[str, object] = {"getMe": dict(BOT), "getWebhookInfo": {"url": ""}}

    def answer(self, method: str, path: str, headers: Message) -> tuple[int, bytes]:
        """What is said to one request."""
        *_, bot, asked = path.split("/")
        if bot.removeprefix("bot") not in self.tokens:
            # As unkind as can be: the words quote the token.
            return 401, json.dumps({"ok": False, "error_code": 401, "description": f"Unauthorized {path}"}).encode()
        return 200, json.dumps({"ok": True, "result": self.answers[asked]}).encode()


def telegram() -> AbstractContextManager[Api]:
    """The server, until the end of the block."""
    return serving(Api())
