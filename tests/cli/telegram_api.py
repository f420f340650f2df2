"""The little of Telegram's Bot API that a set-up asks, in a thread, and whatever else a server may answer."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "123456789:AAF-a_secret_that_nobody_may_ever_see"
OTHER_TOKEN = "987654321:BBF-another_secret_that_nobody_may_see"
BOT: dict[str, object] = {"id": 123456789, "is_bot": True, "first_name": "Zoë's Helper", "username": "zoe_helper_bot"}


class Api(ThreadingHTTPServer):
    """Knows one bot; a test may change every answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens = {TOKEN}
        self.answers: dict[str, object] = {"getMe": dict(BOT), "getWebhookInfo": {"url": ""}}
        self.raw: tuple[int, bytes] | None = None
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str) -> tuple[int, bytes]:
        """What is said to one request."""
        *_, bot, method = path.split("/")
        self.asked.append(method)
        self.may_answer.wait(10)
        if self.raw is not None:
            return self.raw
        if bot.removeprefix("bot") not in self.tokens:
            # As unkind as can be: the words quote the token.
            return 401, json.dumps({"ok": False, "error_code": 401, "description": f"Unauthorized {path}"}).encode()
        return 200, json.dumps({"ok": True, "result": self.answers[method]}).encode()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Api)
        status, body = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("Location", f"{self.server.url}{self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def telegram() -> Iterator[Api]:
    """The server, until the end of the block."""
    with Api() as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            api.may_answer.set()
            api.shutdown()
            thread.join()
