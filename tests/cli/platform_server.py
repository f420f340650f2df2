"""A platform's server in a thread, as far as a set-up asks it, and whatever else a server may answer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

S = TypeVar("S", bound="PlatformServer")


class PlatformServer(ThreadingHTTPServer):
    """Answers as a platform does; a test may change every answer, or have it say nothing at all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.raw: tuple[int, bytes] | None = None
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, headers: Message) -> tuple[int, bytes]:
        """What the platform says to one request."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        server = self.server
        assert isinstance(server, PlatformServer)
        server.asked.append(self.path)
        server.may_answer.wait(10)
        status, body = server.raw or server.answer(method, self.path, self.headers)
        self.send_response(status)
        self.send_header("Location", f"{server.url}{self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(server: S) -> Iterator[S]:
    """The server, until the end of the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
            thread.join()
