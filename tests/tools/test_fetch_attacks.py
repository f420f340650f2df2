"""What a page, a server, a name or a model can try against the reader of the web, and what comes of it."""

import asyncio
import gzip
import re
import socket
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.tools.fetch import Allowed, Fetch, IpAddress, Target, is_public, readable, target_of
from hub.kernel.ports import ToolFailed
from tests.fakes import ANYBODY
from tests.tools.test_fetch import Answer, Site, answer, body_of, moved, names, reader

CLOSED = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1"),
    *("::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1"),
    *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "febf::1", "fec0::1", "ff02::1", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1"),
)
OPEN = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1")


async def no_connection(address: IpAddress, port: int) -> socket.socket:
    raise AssertionError(f"{address}:{port} was to be reached")


def guarded(*found: str) -> Fetch:
    """A client with the rules as they are, for which every name has these addresses and no connection may be made."""

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return found

    return Fetch(resolve=resolve, connect=no_connection)


@pytest.mark.parametrize("address", CLOSED)
async def test_no_address_outside_the_public_internet_is_reached(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    assert not is_public(ip_address(address))
    for url in (f"http://{host}/", f"https://{host}:8443/latest/meta-data/", f"http://{host}./".replace("].", "]")):
        with pytest.raises(ToolFailed, match="private network"):
            await guarded().fetch(url, ANYBODY)
    for found in ((address,), ("93.184.216.34", address), (address, "2606:4700::1111")):
        with pytest.raises(ToolFailed, match=r"rebind\.example is in a private network"):
            await guarded(*found).fetch("http://rebind.example/", ANYBODY)


@pytest.mark.parametrize("address", OPEN)
def test_the_public_internet_is_open(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_what_the_registry_calls_private_is_closed(number: int) -> None:
    address = IPv4Address(number)

    assert address.is_global or not is_public(address)
    for wrapped in (0xFFFF << 32, 0, 0x64FF9B << 96, 0xFFFF << 48, 0x2002 << 112):
        assert not is_public(IPv6Address(wrapped + (number << 80 if wrapped >> 112 == 0x2002 else number)))


@given(st.integers(0, 2**128 - 1))
def test_what_the_registry_calls_private_is_closed_in_version_six(number: int) -> None:
    address = IPv6Address(number)

    assert address.is_global or not is_public(address)


def wide(text: str) -> str:
    """The same in full-width characters."""
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "0", "0x0", "017700000001", "1.1"),
        *("127.0.0.01", "127.0.0.1.", "127.000.000.001", "0x7f.0x0.0x0.0x1", "4294967297", "127.0.0.0x1", "0x"),
        *(wide("127.0.0.1"), wide("127") + ".0.0.1", "127\u30020\u30020\u30021", "127\uff610.0.1", wide("0x7f.1")),
        *("\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "2852039166", "0xa9fea9fe", wide("2130706433")),
        *(
            "localhost",
            "LOCALHOST",
            "localhost.",
            wide("localhost"),
            "foo.localhost",
            "a.b.localhost.",
            "\u24dbocalhost",
        ),
        *("metadata.google.internal", "METADATA.google.INTERNAL.", "router.local", "nas.lan", "wiki.corp"),
        *("db.home.arpa", "router", "kubernetes", "x.test", "x.invalid", "x.onion", "localhost.localdomain"),
        *("[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]", "[::FFFF:127.0.0.1]", "[fe80::1%eth0]", "[fe80::1%25eth0]"),
        *("[::1%25lo]", "[::127.0.0.1]", "[0::1]x", "x[::1]", "[v1.fe80::]", "[]", "[127.0.0.1]", "[::1", "::1"),
        *("", ".", "..", "a..example", ".example.com", "-a.example", "a-.example", "a b.example", "a%2eexample", "%31"),
        *("user@site.example", "user:pw@site.example", "site.example:80@127.0.0.1", "site.example\\@127.0.0.1", "@"),
        *("site.example:0", "site.example:22", "site.example:6379", "site.example:99999", "site.example:8 0"),
        *("x.example:-1", "site.example:" + wide("80"), "site.example:80:80", "a\x00.example", "a\n.example"),
        *("a\u200d\u202e.example", "\ud800.example", f"{'a' * 64}.example", f"{'a.' * 200}example", "xn--.1"),
    ],
)
async def test_no_spelling_of_a_host_gets_past_the_check(host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(ToolFailed) as failed:
            await guarded("127.0.0.1").fetch(f"{scheme}://{host}/", ANYBODY)
        assert str(failed.value).endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "gopher://site.example/",
            "ftp://site.example/",
            "javascript:alert(1)",
            "data:,x",
            "//x",
        ),
        *("site.example", "http:site.example", "http:/site.example", "http:///site.example", "http://", "://", "", " "),
        *(
            "ht\ntp://site.example/",
            "http://site.example/\r\nHost: x",
            "http://site.example/\x00",
            "\\\\site.example\\x",
        ),
        *("http:\\\\site.example", "jar:http://site.example!/", "http://[", "http://]", "unix:///run/docker.sock"),
        "http://site.example/" + "a" * 5_000,
    ],
)
async def test_what_is_no_web_address_is_an_observation(url: str) -> None:
    with pytest.raises(ToolFailed):
        await guarded("93.184.216.34").fetch(url, ANYBODY)


@given(
    st.one_of(
        st.text(), st.text(alphabet="htps:/[]@.#?%\\0123456789abcdef\uff11\u3002 -_").map(lambda text: f"http://{text}")
    )
)
@example("http://[::1%eth0]/")
@example("http://℀.example/")
def test_any_text_is_a_plain_target_or_an_observation(url: str) -> None:
    try:
        target = target_of(url)
    except ToolFailed:
        return
    assert target_of(str(target)) == target
    assert re.fullmatch(r"[\x21-\x7e]+", str(target))


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1/", "private network"),
        ("http://169.254.169.254/latest/", "private network"),
        ("//[::1]/", "private network"),
        ("http://inside.example/", "private network"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://localhost:80/", "private network"),
        ("http://user:pw@site.example/", "password"),
        ("file:///etc/passwd", "https:// or http://"),
        ("javascript:alert(1)", "https:// or http://"),
        ("http://site.example:22/", "Port 22"),
        ("http://[::1/", "no URL"),
        ("/" + "a" * 5_000, "longer than"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(status: str, location: str, reason: str) -> None:
    known = names({"site.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]})
    async with Site({"/": moved("/on", status), "/on": moved(location, status)}) as site:
        with pytest.raises(ToolFailed, match=reason):
            await Fetch(site.allowed, resolve=known).fetch(site.url(), ANYBODY)

        assert len(site.requests) == 2


async def test_redirects_without_an_end_come_to_one() -> None:
    async with Site({"/": moved("/")}) as site:
        with pytest.raises(ToolFailed, match="more than 5 times"):
            await reader(site).fetch(site.url(), ANYBODY)

        assert len(site.requests) == 6


class Rebinding:
    """Names that have another address at each look-up, and a network that has every public address on one port here."""

    def __init__(self, *answers: str) -> None:
        self.looked_up = 0
        self.reached: list[str] = []
        self.port = 0
        self._answers = answers

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        self.looked_up += 1
        return (self._answers[min(self.looked_up, len(self._answers)) - 1],)

    async def connect(self, address: IpAddress, port: int) -> socket.socket:
        self.reached.append(str(address))
        reached = socket.socket()
        reached.setblocking(False)
        await asyncio.get_running_loop().sock_connect(reached, ("127.0.0.1", self.port))
        return reached


async def test_a_name_is_looked_up_once_and_that_address_is_reached() -> None:
    network = Rebinding("93.184.216.34", "127.0.0.1")
    async with Site({"/": answer("hello")}) as site:
        network.port = site.port
        fetch = Fetch(resolve=network.resolve, connect=network.connect)

        assert "hello" in await fetch.fetch("http://rebind.example/", ANYBODY)
        assert (network.looked_up, network.reached) == (1, ["93.184.216.34"])
        with pytest.raises(ToolFailed, match="private network"):
            await fetch.fetch("http://rebind.example/", ANYBODY)
        assert network.reached == ["93.184.216.34"]


async def test_a_name_that_changes_on_the_way_is_looked_at_again() -> None:
    network = Rebinding("93.184.216.34", "169.254.169.254")
    async with Site({"/": moved("http://rebind.example/secret"), "/secret": answer("secret")}) as site:
        network.port = site.port
        with pytest.raises(ToolFailed, match="private network"):
            await Fetch(resolve=network.resolve, connect=network.connect).fetch("http://rebind.example/", ANYBODY)

        assert (network.looked_up, network.reached, len(site.requests)) == (2, ["93.184.216.34"], 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a socket an address that nobody has")
async def test_a_public_address_of_this_machine_is_refused() -> None:
    async def connect(address: IpAddress, port: int) -> socket.socket:
        reached = socket.socket()
        reached.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND, which the module has no name for before 3.13
        reached.bind((str(address), 0))
        return reached

    with pytest.raises(ToolFailed, match="this machine"):
        await Fetch(connect=connect).fetch("http://93.184.216.34/", ANYBODY)


async def test_an_exception_is_for_one_address_at_one_port() -> None:
    allowed = Allowed(besides=frozenset({("127.0.0.1", 9)}))

    assert allowed.covers(ip_address("127.0.0.1"), 9)
    assert not allowed.covers(ip_address("127.0.0.1"), 80)
    assert not allowed.covers(ip_address("127.0.0.2"), 9)
    assert not allowed.covers(ip_address("8.8.8.8"), 9)
    assert not allowed.covers(ip_address("::ffff:127.0.0.1"), 9)


def endless(head: bytes, more: bytes) -> Answer:
    """An answer that goes on until nobody listens."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(more)
            await writer.drain()

    return write


def silent(head: bytes) -> Answer:
    """An answer that stops in the middle, on an open connection."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()

    return write


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    "response",
    [
        endless(HEAD + b"\r\n", b"x" * 9_999 + b" "),
        endless(HEAD + b"Content-Length: 99999999999\r\n\r\n", b"x" * 9_999 + b" "),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2710\r\n" + b"x" * 9_999 + b" \r\n"),
        answer(gzip.compress(b"x" * 30_000_000, mtime=0), "text/plain", more="Content-Encoding: gzip\r\n"),
        answer(zlib.compress(b"x" * 30_000_000), "text/plain", more="Content-Encoding: deflate\r\n"),
        answer(b"x" * 3_000_000, "text/plain"),
    ],
)
async def test_a_body_of_any_size_is_read_so_far_and_no_further(response: Answer) -> None:
    async with Site({"/": response}) as site:
        told = await reader(site).fetch(site.url(), ANYBODY)
        last = await reader(site).fetch(site.url(), ANYBODY, 1_990_000)

        await site.left.wait()
    assert len(told) < 41_000
    assert re.search(r"Characters 0 to 40000 of (1999999|2000000); fetch again with start=40000", told)
    assert last.endswith("[End of what was read; site.example has more, which is too long to be read.]")


async def test_a_body_in_crumbs_is_not_counted_for_ever() -> None:
    async with Site({"/": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1_000)}) as site:
        told = await reader(site).fetch(site.url(), ANYBODY, 40_000)

        await site.left.wait()
    assert "too long to be read" in told


@pytest.mark.parametrize(
    "response",
    [
        endless(b"HTTP/1.1 200 OK\r\n", b"X-Bomb: " + b"x" * 1_000 + b"\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nX-Bomb: ", b"x" * 10_000),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
        endless(b"", b"x" * 10_000),
        endless(b"", b"\r\n" * 5_000),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 10_000),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: x\r\n" * 1_000),
    ],
)
async def test_a_head_without_an_end_is_left(response: Answer) -> None:
    async with Site({"/": response}) as site:
        with pytest.raises(ToolFailed, match="way of HTTP"):
            await reader(site).fetch(site.url(), ANYBODY)

        await site.left.wait()


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"hello",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 OK\r\n\r\nx",
        b"HTTP/1.1 2000 OK\r\n\r\nx",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nx",
        b"HTTP/2 200\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
        b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\nx",
    ],
)
async def test_what_is_no_http_is_an_observation(response: bytes) -> None:
    async with Site({"/": response}) as site:
        with pytest.raises(ToolFailed, match=r"site\.example did not answer in the way of HTTP"):
            await reader(site).fetch(site.url(), ANYBODY)


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", b"no gzip", "cannot be unpacked"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-9], "cannot be unpacked"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-8] + b"12345678", "cannot be unpacked"),
        ("deflate", b"\x00\x01\x02", "cannot be unpacked"),
        ("br", b"hello", "not asked for"),
        ("zstd", b"hello", "not asked for"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"hello", mtime=0), mtime=0), "not asked for"),
        ("x" * 1_000, b"hello", "not asked for"),
    ],
)
async def test_what_cannot_be_unpacked_is_an_observation(coding: str, body: bytes, reason: str) -> None:
    async with Site({"/": answer(body, more=f"Content-Encoding: {coding}\r\n")}) as site:
        with pytest.raises(ToolFailed, match=reason):
            await reader(site).fetch(site.url(), ANYBODY)


async def test_a_file_is_described_and_not_loaded() -> None:
    async with Site({"/": endless(HEAD.replace(b"text/plain", b"video/mp4") + b"\r\n", b"x" * 10_000)}) as site:
        told = await reader(site).fetch(site.url(), ANYBODY)

        await site.left.wait()
    assert "a file of the type video/mp4, of unknown size" in told


@pytest.mark.parametrize("response", [silent(b""), silent(b"HTTP/1.1 200 OK\r\nX:"), silent(b"HTTP/1.1 100 x\r\n\r\n")])
async def test_a_server_that_does_not_begin_to_answer_is_left(response: Answer) -> None:
    async with Site({"/": response}) as site:
        with pytest.raises(ToolFailed, match=r"site\.example did not begin to answer in time"):
            await reader(site, first_byte_seconds=0.05).fetch(site.url(), ANYBODY)

        await site.left.wait()


async def test_a_server_that_does_not_come_to_an_end_is_left() -> None:
    async with Site({"/": silent(HEAD + b"Content-Length: 10\r\n\r\nx"), "/to": moved("/")}) as site:
        with pytest.raises(ToolFailed, match=r"not there after 0\.2 seconds"):
            await reader(site, total_seconds=0.2).fetch(site.url("/to"), ANYBODY)

        await site.left.wait()


async def test_a_name_or_an_address_that_does_not_answer_is_left() -> None:
    async def never(*_: object) -> socket.socket:
        await asyncio.Event().wait()
        raise AssertionError

    async def no_name(host: str, port: int) -> tuple[str, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(ToolFailed, match="not there after"):
        await Fetch(resolve=no_name, total_seconds=0.05).fetch("http://slow.example/", ANYBODY)
    with pytest.raises(ToolFailed, match="cannot be reached"):
        await Fetch(connect=never, connect_seconds=0.05).fetch("http://93.184.216.34/", ANYBODY)


@pytest.mark.parametrize("response", [silent(b""), silent(HEAD + b"\r\nx"), endless(HEAD + b"\r\n", b"x" * 10_000)])
async def test_a_call_that_is_given_up_leaves_the_server(response: Answer) -> None:
    async with Site({"/": response}) as site:
        call = asyncio.create_task(reader(site).fetch(site.url(), ANYBODY))
        await site.asked.wait()

        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call
        await site.left.wait()


async def bare(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> asyncio.Server:
    """A server of bytes on a free port."""
    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_a_handshake_that_is_given_up_leaves_the_server() -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def serve(hello: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hello.read(1)
        begun.set()
        with suppress(ConnectionError):
            await hello.read()
        writer.close()
        left.set()

    async with await bare(serve) as server:
        port = server.sockets[0].getsockname()[1]
        fetch = Fetch(Allowed(besides=frozenset({("127.0.0.1", port)})), resolve=names({"site.example": ["127.0.0.1"]}))
        call = asyncio.create_task(fetch.fetch(f"https://site.example:{port}/", ANYBODY))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await left.wait()


async def test_a_server_that_speaks_no_tls_is_an_observation() -> None:
    async def serve(hello: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        writer.close()

    async with await bare(serve) as server:
        port = server.sockets[0].getsockname()[1]
        fetch = Fetch(Allowed(besides=frozenset({("127.0.0.1", port)})), resolve=names({"site.example": ["127.0.0.1"]}))
        with pytest.raises(ToolFailed, match=r"site\.example"):
            await fetch.fetch(f"https://site.example:{port}/", ANYBODY)


async def test_what_a_person_would_not_see_a_model_does_not_read() -> None:
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all")
    hidden = f"{tags}\u200b\u202e\u2066\u00ad\ufeff\u034f\u3164\ufe0f\U000e0101\x1b[31m\x07\x9b\ue000&#x200b;&#xE0041;"
    spoken = f"<p>gr\u00fcn {hidden}und \u0939\u093f \u05d0\u05b0 \U0001f600\tblau</p>"

    assert await body_of(answer(spoken)) == "grün [31mund \u0939\u093f \u05d0\u05b0 \U0001f600 blau"


@pytest.mark.parametrize(
    "html",
    [
        *(
            "<",
            "<a ",
            "<a",
            "</",
            "<!--",
            "<![",
            "<![x[",
            "&",
            "&#",
            "<a b='",
            "<a href=x>y",
            "<ul><li>x",
            "<svg>",
            "<?",
        ),
        *(
            "<script></",
            "<script></scr ",
            "<a b=c ",
            "<a b=\"'",
            "<a/",
            "<a =",
            "<a\n",
            "<pre>",
            "<title>",
            "</a",
            "<!",
        ),
        *(
            "<table><td>",
            "<h1>",
            "<nav>x</nav>",
            "<p hidden>x",
            "<base href=/x/>",
            "&#" + "9" * 5_000 + ";",
            "<a " + " " * 50_000,
            "<a x" + "=" * 50_000,
        ),
    ],
)
def test_no_page_keeps_the_reader_busy_for_long(html: str) -> None:
    page = (html * (300_000 // len(html) + 1))[:300_000]
    begun = time.process_time()

    text, _ = readable(page, "http://site.example/")

    assert len(text) < 5_000_000
    assert time.process_time() < begun + 8


@given(st.text(alphabet="<>!-[]/&;#x'\"= aphrefscitl1\n", max_size=200))
def test_any_page_becomes_text(html: str) -> None:
    text, _ = readable(html, "http://site.example/")

    assert len(text) <= 60 + 30 * len(html)


def test_a_target_is_written_as_it_is_sent() -> None:
    assert target_of("HTTPS://EXAMPLE.com.:443/a b/ü?q=ä#x") == Target(
        "https", "example.com", 443, "/a%20b/%C3%BC?q=%C3%A4"
    )
    assert str(target_of("http://Bücher.example:8080")) == "http://xn--bcher-kva.example:8080/"
    assert str(target_of("http://[2606:4700:0:0::1111]:80/")) == "http://[2606:4700::1111]/"
