"""A tool that reads a page of the public web, over a client that reaches nothing but the public web.

A name is resolved once, every address it has is checked, and the connection goes to one of those: no second look-up can
answer otherwise. The same holds for each redirect. What comes back is bounded in time and size and told as text.
"""

import asyncio
import codecs
import re
import socket
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from types import MappingProxyType
from urllib.parse import quote, urljoin, urlsplit

import h11

from hub.kernel.foreign import visible
from hub.kernel.ports import Equipped, Occasion, ToolFailed
from hub.kernel.schema import equip

MAX_URL = 4_096
MAX_HEAD = 64_000
MAX_WIRE = 2_000_000
MAX_BODY = 2_000_000
MAX_PIECES = 50_000
MAX_REDIRECTS = 5
MAX_SHOWN = 40_000
TOTAL_SECONDS = 20.0
CONNECT_SECONDS = 5.0
FIRST_BYTE_SECONDS = 10.0
READ_SECONDS = 4.0
BLOCK = 16_384

IpAddress = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[IpAddress, int], Awaitable[socket.socket]]

# What is not the public internet of version 4, after the registry of special addresses; 168.63.129.16 is public by its
# number and, inside Azure, the host's own service.
_CLOSED_4 = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
    )
)
# Of version 6 only global unicast is open, which leaves out loopback, mapped, translated, local and multicast addresses
# at once; within it, what tunnels to version 4 (Teredo, 6to4) and what is set apart for tests and documents is closed.
_OPEN_6 = ip_network("2000::/3")
_CLOSED_6 = tuple(
    ip_network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20")
)
# The middle of an ISATAP interface's address, in front of the address of version 4 that it tunnels to.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_DEFAULT_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})
_LOCAL_NAMES = (
    *("localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa"),
    *("test", "invalid", "onion", "alt"),
)
_AUTHORITY = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*))(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_FORBIDDEN_IN_URL = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029\ud800-\udfff]")

_ENCODINGS = frozenset(
    {
        *("ascii", "big5", "big5hkscs", "cp437", "cp850", "cp866", "cp874", "cp932", "cp949", "euc_jp", "euc_kr"),
        *("gb18030", "gb2312", "gbk", "iso2022_jp", "koi8-r", "koi8-u", "mac-cyrillic", "mac-roman", "shift_jis"),
        *("tis-620", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"),
        *(f"cp125{number}" for number in range(9)),
        *(f"iso8859-{number}" for number in range(1, 17)),
    }
)
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_LABELLED = re.compile(r"(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_LINE_ENDS = re.compile("\r\n?|\x85|\u2028|\u2029")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Where the client may go: to public addresses at these ports, and to the pairs that are named besides."""

    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})
    besides: frozenset[tuple[str, int]] = frozenset()

    def covers(self, address: IpAddress, port: int) -> bool:
        """Whether a connection may be made."""
        return self.names(address, port) or (port in self.ports and is_public(address))

    def covers_port(self, port: int) -> bool:
        """Whether there is any address that may be reached at the port."""
        return port in self.ports or any(port == named for _, named in self.besides)

    def names(self, address: IpAddress, port: int) -> bool:
        """Whether exactly this is allowed, public or not."""
        return (str(address), port) in self.besides


PUBLIC_WEB = Allowed()


def is_public(address: IpAddress) -> bool:
    """Whether an address is one of the public internet, as far as an address can tell."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if address.scope_id is not None or address not in _OPEN_6 or any(address in network for network in _CLOSED_6):
        return False
    return (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP


@dataclass(frozen=True, slots=True)
class Target:
    """An address of the web, taken apart and written in the one way that is sent."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def target_of(url: str) -> Target:
    """What a URL points to; `ToolFailed` where it points to no public place, or does not say so plainly."""
    url = url.strip()
    if len(url) > MAX_URL:
        raise ToolFailed(f"The URL is longer than {MAX_URL} characters.")
    if _FORBIDDEN_IN_URL.search(url):
        raise ToolFailed("The URL holds a backslash or a control character; write it percent-encoded.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ToolFailed("This is no URL that can be read; it needs the form https://host/path.") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ToolFailed("Only URLs that begin with https:// or http:// can be read.")
    if "@" in parts.netloc:
        raise ToolFailed("A URL with a user name or a password in it is not read; leave that part out.")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise ToolFailed("The URL's host or port cannot be read; it needs the form https://host/path.")
    bracketed, name, port = authority.groups()
    host = _host(name) if bracketed is None else _version_6(bracketed)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = f"?{quote(parts.query, safe='/?%:@!$&()*+,;=~[]')}" if parts.query else ""
    return Target(parts.scheme, host, int(port) if port else _DEFAULT_PORTS[parts.scheme], path + query)


def _version_6(written: str) -> str:
    try:
        address = IPv6Address(written)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ToolFailed("What stands in brackets must be an IPv6 address, and one without a zone.")
    return str(address)


def _host(written: str) -> str:
    """A host's one spelling: a name in ASCII, or an address in its usual form."""
    if not written or len(written) > 253:
        raise ToolFailed("The URL names no host, or one that is too long.")
    try:
        name = written.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        name = ""
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ToolFailed("The URL's host is no name of the internet.")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise ToolFailed("A host that is a number must be four decimal numbers, such as 192.0.2.1.") from None
    if len(labels) == 1 or any(name == local or name.endswith(f".{local}") for local in _LOCAL_NAMES):
        raise ToolFailed(f"{name} is a name of a private network; only the public web can be read.")
    return name


@dataclass(frozen=True, slots=True)
class _Page:
    """What the last server answered: where it was, what it is said to be, and as much of it as was read."""

    target: Target
    kind: str
    charset: str
    size: str
    body: bytes
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Moved:
    """The server answered that it is elsewhere."""

    location: str


class Fetch:
    """The client and its tool; `resolve` and `connect` are how names are looked up and addresses reached."""

    def __init__(
        self,
        allowed: Allowed = PUBLIC_WEB,
        *,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        tls: ssl.SSLContext | None = None,
        total_seconds: float = TOTAL_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
        first_byte_seconds: float = FIRST_BYTE_SECONDS,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve or _resolve
        self._connect = connect or _connect
        self._tls = tls
        self._total_seconds = total_seconds
        self._connect_seconds = connect_seconds
        self._first_byte_seconds = first_byte_seconds

    def tools(self) -> tuple[Equipped, ...]:
        """`fetch`."""
        # A GET changes nothing at an honest server and may be repeated. It can carry words out in its URL, so that a
        # tainted turn asks before it goes to a place that is new.
        return (equip(self.fetch, is_idempotent=True, timeout=self._total_seconds + 10, reaches="url"),)

    async def fetch(self, url: str, occasion: Occasion, start: int = 0, whole: bool = False) -> str:
        """Reads a page of the public web, or another text that has a URL, and gives it as plain text with its links.

        url: the full address, beginning with https:// or http://
        start: the character to begin at, where an earlier call ended before the text did
        whole: whether to give also what stands around the text, such as navigation
        """
        start = int(start)
        if start < 0:
            raise ToolFailed("start must be 0 or more.")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._total_seconds):
                page = await self._follow(target_of(url), stays=occasion.is_tainted)
                # Thousands of tags take a moment, and the loop has others to serve.
                enough = loop.time() + READ_SECONDS
                text, is_cut = await asyncio.to_thread(_read, page, lambda: loop.time() > enough, whole=whole)
        except TimeoutError:
            raise ToolFailed(
                f"The page was not there after {self._total_seconds:g} seconds; try another one."
            ) from None
        return _show(page, text, start, is_cut=is_cut)

    async def _follow(self, target: Target, *, stays: bool) -> _Page:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._get(target)
            if isinstance(answer, _Page):
                return answer
            try:
                following = target_of(urljoin(str(target), answer.location))
            except ValueError:
                raise ToolFailed(f"{target.host} redirects to something that is no URL.") from None
            except ToolFailed as failed:
                raise ToolFailed(f"{target.host} redirects to a place that is not read: {failed}") from None
            if (target.scheme, following.scheme) == ("https", "http"):
                raise ToolFailed(f"{target.host} redirects from https to http, which is not followed.")
            # Whoever was allowed to be told this address may pass it on to one who was not.
            if stays and _site(target) != _site(following):
                raise ToolFailed(f"{target.host} redirects to {following}: fetch that, if it is what you need.")
            target = following
        raise ToolFailed(f"The page redirects more than {MAX_REDIRECTS} times; it cannot be read.")

    async def _get(self, target: Target) -> _Page | _Moved:
        try:
            async with self._connected(target) as (reader, writer):
                return await _Exchange(target, reader, writer).run(self._first_byte_seconds)
        except ssl.SSLCertVerificationError as error:
            raise ToolFailed(f"The certificate of {target.host} is not valid: {error.verify_message}.") from None
        except ssl.SSLError:
            raise ToolFailed(f"{target.host} does not speak TLS as it should.") from None
        except OSError:
            raise ToolFailed(f"The connection to {target.host} broke off; try again, or another page.") from None
        except h11.RemoteProtocolError:
            raise ToolFailed(
                f"{target.host} did not answer in the way of HTTP, or broke off; try another page."
            ) from None
        except zlib.error:
            raise ToolFailed(f"{target.host} sent data that cannot be unpacked; try another page.") from None

    @asynccontextmanager
    async def _connected(self, target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        addresses = await self._addresses(target)
        tls = await self._certificates() if target.scheme == "https" else None
        with ExitStack() as undo:
            reached = await self._reach(target, addresses)
            undo.callback(reached.close)
            # A public address may be our own, and what listens there be hidden from everybody else by a firewall.
            own = ip_address(reached.getsockname()[0])
            if own in addresses and not self._allowed.names(own, target.port):
                raise ToolFailed(f"{target.host} is this machine; only the public web can be read.")
            reader, writer = await asyncio.open_connection(
                sock=reached, ssl=tls, server_hostname=target.host if tls else None
            )
            undo.pop_all()
        try:
            yield reader, writer
        finally:
            # Nothing is left to say, and a farewell would wait for the other side.
            writer.transport.abort()

    async def _certificates(self) -> ssl.SSLContext:
        if self._tls is None:
            # Hundreds of certificates are read from the disk, which is worth a thread and not worth a start-up.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def _addresses(self, target: Target) -> tuple[IpAddress, ...]:
        """All addresses of the host, each of which may be reached; this is the only look-up."""
        if not self._allowed.covers_port(target.port):
            ports = ", ".join(str(port) for port in sorted(self._allowed.ports))
            raise ToolFailed(f"Port {target.port} is not read; only {ports} are.")
        try:
            # A host that is an address needs no look-up, and goes through the same check.
            found: Sequence[str] = (str(ip_address(target.host)),)
        except ValueError:
            try:
                found = await self._resolve(target.host, target.port)
            except (OSError, UnicodeError):
                found = ()
        addresses = tuple(ip_address(each) for each in dict.fromkeys(found))
        if not addresses:
            raise ToolFailed(f"There is no host {target.host}; check the URL.")
        # One private address among public ones is refused too: nobody honest has both.
        if not all(self._allowed.covers(address, target.port) for address in addresses):
            raise ToolFailed(f"{target.host} is in a private network; only the public web can be read.")
        return addresses

    async def _reach(self, target: Target, addresses: Sequence[IpAddress]) -> socket.socket:
        for address in addresses:
            try:
                async with asyncio.timeout(self._connect_seconds):
                    return await self._connect(address, target.port)
            except OSError:
                continue
        raise ToolFailed(f"{target.host} cannot be reached; check the URL, or try again later.")


def _site(target: Target) -> str:
    return target.host.removeprefix("www.")


async def _resolve(host: str, port: int) -> tuple[str, ...]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(str(address[0]) for *_, address in found)


async def _connect(address: IpAddress, port: int) -> socket.socket:
    reached = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    with ExitStack() as undo:
        undo.callback(reached.close)
        reached.setblocking(False)
        await asyncio.get_running_loop().sock_connect(reached, (str(address), port))
        undo.pop_all()
    return reached


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._received = 0

    async def run(self, first_byte_seconds: float) -> _Page | _Moved:
        """Ask and read; nothing of an earlier answer goes into the request."""
        headers = [
            ("Host", self._target.authority),
            ("User-Agent", "Factory (a reader for a person)"),
            ("Accept", "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.5"),
            ("Accept-Encoding", "gzip"),
            ("Connection", "close"),
        ]
        self._send(h11.Request(method="GET", target=self._target.path, headers=headers))
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        try:
            async with asyncio.timeout(first_byte_seconds):
                head = await self._next()
                while isinstance(head, h11.InformationalResponse):
                    head = await self._next()
        except TimeoutError:
            raise ToolFailed(f"{self._target.host} did not begin to answer in time; try another page.") from None
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("no answer")
        return await self._take(head)

    async def _take(self, head: h11.Response) -> _Page | _Moved:
        status = head.status_code
        if status in (301, 302, 303, 307, 308) and (location := _header(head, b"location")):
            return _Moved(location)
        if not 200 <= status < 300:
            raise ToolFailed(f"{self._target.host} answered {_status(status)} to this URL.")
        kind, _, parameters = _header(head, b"content-type").partition(";")
        kind = kind.strip().lower()
        found = _LABELLED.search(parameters)
        charset = found.group(1) if found else ""
        size = _header(head, b"content-length")
        if kind and not _is_text(kind):
            return _Page(self._target, kind, charset, size, b"", is_cut=False)
        body, is_cut = await self._body(_header(head, b"content-encoding").strip().lower())
        return _Page(self._target, kind, charset, size, body, is_cut)

    async def _body(self, coding: str) -> tuple[bytes, bool]:
        """The body, unpacked, and whether it was longer than is read."""
        if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ToolFailed(f"{self._target.host} packs its text in a way that was not asked for; try another page.")
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32) if coding not in ("", "identity") else None
        body = bytearray()
        pieces = 0
        while isinstance(event := await self._next(), h11.Data):
            pieces += 1
            data = bytes(event.data)
            body += unpacker.decompress(data, MAX_BODY + 1 - len(body)) if unpacker else data
            if len(body) > MAX_BODY or self._received > MAX_WIRE or pieces > MAX_PIECES:
                return bytes(body[:MAX_BODY]), True
        if unpacker and pieces and not unpacker.eof:
            raise zlib.error("it ends too soon")
        return bytes(body), bool(unpacker and unpacker.unused_data)

    def _send(self, event: h11.Request | h11.EndOfMessage) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(BLOCK)
            # A fast server's data is there at once, and reading it would never let others have their turn.
            await asyncio.sleep(0)
            self._received += len(data)
            if self._received > MAX_HEAD + MAX_WIRE:
                raise h11.RemoteProtocolError("more than anybody reads")
            self._http.receive_data(data)
        return event


def _header(head: h11.Response, name: bytes) -> str:
    found = [value for each, value in head.headers if each == name]
    if not found:
        return ""
    try:
        return found[0].decode()
    except UnicodeDecodeError:
        return found[0].decode("latin-1")


def _status(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _is_text(kind: str) -> bool:
    family, _, form = kind.partition("/")
    return family == "text" or form.endswith(("+json", "+xml", "+yaml")) or form in _TEXT_FORMS


_TEXT_FORMS = frozenset(
    {
        *("json", "xml", "javascript", "ecmascript", "yaml", "x-yaml", "toml", "x-ndjson", "ndjson", "jsonl", "sql"),
        *("x-sh", "graphql", "x-tex", "x-latex", "x-subrip"),
    }
)


def _read(page: _Page, is_over: Callable[[], bool], *, whole: bool) -> tuple[str, bool]:
    """The page as text, and whether something is missing at its end."""
    if page.kind and not _is_text(page.kind):
        size = f"of {page.size} bytes" if page.size else "of unknown size"
        return f"(This is a file of the type {_legible(page.kind)[:100]}, {size}; it has no text to be read.)", False
    text = _decode(page)
    if text is None:
        return f"(These are {len(page.body)} bytes that are no text.)", False
    is_whole = True
    if page.kind in _HTML or (not page.kind and _looks_like_html(text)):
        text, is_whole = readable(text, str(page.target), is_over, whole=whole)
    return _BLANK_LINES.sub("\n\n", _legible(text)).strip(), page.is_cut or not is_whole


def _decode(page: _Page) -> str | None:
    """The text that the bytes are, by their mark, the header, what the page says of itself, or what they look like."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if page.body.startswith(mark):
            return page.body[len(mark) :].decode(encoding, "replace")
    encoding = _encoding(page.charset)
    if not encoding and not page.kind.startswith("text/plain"):
        found = _LABELLED.search(page.body[:2_048].decode("latin-1"))
        encoding = _encoding(found.group(1)) if found else ""
        # That it could be read so far shows that it is in no wide encoding, whatever it says.
        encoding = "" if encoding.startswith(("utf-16", "utf-32")) else encoding
    if b"\0" in page.body[:4_096] and not encoding.startswith(("utf-16", "utf-32")):
        return None
    if encoding:
        return page.body.decode(encoding, "replace")
    text = page.body.decode("utf-8", "replace")
    # A letter that is broken, or cut at the end, makes no other encoding of a page; one in four does.
    strange = len(text) - len(text.encode("ascii", "ignore"))
    return text if text.count("\ufffd") * 4 <= strange else page.body.decode("cp1252", "replace")


def _encoding(label: str) -> str:
    """Python's name for an encoding of text that pages may be in; some of its codecs are no such thing."""
    try:
        name = codecs.lookup(label).name if label else ""
    except (LookupError, ValueError):
        return ""
    if name not in _ENCODINGS:
        return ""
    # Who says Latin-1 or ASCII means what browsers make of it.
    return "cp1252" if name in ("ascii", "iso8859-1") else name


def _looks_like_html(text: str) -> bool:
    return text[:512].lstrip().lower().startswith(("<!doctype html", "<html", "<head", "<body"))


def _legible(text: str) -> str:
    text = _LINE_ENDS.sub("\n", text)
    # Piece by piece, so that other threads have their turn in a long one.
    return "".join(visible(text[at : at + BLOCK]) for at in range(0, len(text), BLOCK))


def _show(page: _Page, text: str, start: int, *, is_cut: bool) -> str:
    if start and start >= len(text):
        raise ToolFailed(f"The text has only {len(text)} characters, so there is nothing at {start}.")
    piece = text[start : start + MAX_SHOWN].encode()[:MAX_SHOWN].decode(errors="ignore")
    end = start + len(piece)
    host = page.target.host
    lines = [f"{page.target}\n\n{piece or '(There is no text.)'}\n"]
    if end < len(text):
        lines.append(f"[Characters {start} to {end} of {len(text)}; fetch again with start={end} to read on.]")
    elif is_cut:
        lines.append(f"[End of what was read; {host} has more, which is too long to be read.]")
    else:
        lines.append(f"[End of what {host} wrote.]")
    return "\n".join(lines)


# Elements of which nothing is text for a reader.
_DROPPED = frozenset(
    {
        *("script", "style", "template", "svg", "math", "iframe", "object", "canvas", "audio", "video", "noembed"),
        *("noframes", "datalist"),
    }
)
_PARAGRAPHS = frozenset(
    {
        *("p", "ul", "ol", "dl", "table", "blockquote", "form", "fieldset", "figure", "article", "section", "details"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "footer", "main", "nav", "aside", "title"),
    }
)
_LINES = frozenset(
    {
        *("div", "li", "tr", "dt", "dd", "option", "figcaption", "caption", "summary", "address", "legend", "label"),
        *("body", "head", "html", "select", "button", "textarea"),
    }
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_VOID = frozenset(
    {
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"),
    }
)
# What ends without saying so where the next of its kind begins, unless that is within one of these.
_OPEN_ENDED = frozenset({"p", "li", "dt", "dd", "tr", "td", "th", "option"})
_HOLDERS = ("ul", "ol", "dl", "table", "select")
# Whose end is the end of all that was left open within them.
_CONTAINERS = frozenset(
    {
        *("div", "section", "article", "main", "body", "html", "ul", "ol", "dl", "table", "tbody", "thead", "tfoot"),
        *("tr", "td", "th", "li", "blockquote", "header", "footer", "nav", "aside", "details", "form", "select"),
    }
)
_AROUND = frozenset({"nav", "header", "footer", "aside"})
_AROUND_ROLES = frozenset({"navigation", "banner", "contentinfo", "complementary", "search"})
_CORE = frozenset({"main", "article"})
# What is left out around a text leaves a text, or it is the text.
_LEAST_TEXT = 200
_STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_UNSEEN = re.compile(
    r"(?:^|[;\s])(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    r"|font-size\s*:\s*0(?:\.0*)?(?:[a-z%]{1,4})?\s*(?:[;!]|$)|text-indent\s*:\s*-[0-9]{3}"
    r"|(?:left|top|right)\s*:\s*-[0-9]{4})"
)
_FADED = re.compile(r"(?:^|[;\s])opacity\s*:\s*0(?:\.0*)?%?\s*(?:[;!]|$)")
_MAX_STYLE = 10_000
_SPACE = re.compile(r"[ \t\n\r\f]+")
_MAX_INDENT = 6
_MAX_LINK = 500
_MAX_READABLE = 4_000_000
_FED_AT_ONCE = 65_536
_MAX_TAG = 262_144
_MAX_LAST_TAG = 16_384
_EMBEDDED = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=%]*", re.IGNORECASE)


def readable(
    html: str, base: str, is_over: Callable[[], bool] = lambda: False, *, whole: bool = False
) -> tuple[str, bool]:
    """A page's text in simple Markdown, and whether all of it was read before time or room was up.

    What a page itself hides is no text. What stands around the text, such as navigation, is left out unless the `whole`
    is wanted.
    """
    reader = _Reader(base, whole=whole)
    html = _EMBEDDED.sub("data:", html)
    try:
        for begin in range(0, len(html), _FED_AT_ONCE):
            # The parser begins each time anew with a tag that has not ended; a script it only looks for the end of.
            is_endless = len(reader.rawdata) > _MAX_TAG and not reader.cdata_elem
            if is_endless or reader.size > _MAX_READABLE or is_over():
                return reader.text(), False
            reader.feed(html[begin : begin + _FED_AT_ONCE])
        if len(reader.rawdata) > _MAX_LAST_TAG:
            # What follows such a tag newer parsers put off until there is twice as much.
            reader.feed(" " * len(reader.rawdata))
        # Told of the end, it looks for what a broken tag lacks from every character on.
        is_whole = len(reader.rawdata) <= _MAX_LAST_TAG
        if is_whole:
            reader.close()
    except (AssertionError, ValueError):
        # It gives up at some broken declarations, and at numbers of characters with thousands of digits.
        is_whole = False
    return reader.text(), is_whole


def _is_hidden(attributes: Mapping[str, str | None]) -> bool:
    """Whether a page says of an element that nobody shall see it, as far as its own attributes tell."""
    if "hidden" in attributes:
        return True
    style = _STYLE_COMMENT.sub("", (attributes.get("style") or "")[:_MAX_STYLE]).lower()
    # What also moves is only about to appear.
    return bool(_UNSEEN.search(style) or ("transform" not in style and _FADED.search(style)))


class _Reader(HTMLParser):
    """Collects text as tags come and go; line ends and spaces wait until there is text to follow them."""

    def __init__(self, base: str, *, whole: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.size = 0
        self._base = base
        self._is_whole = whole
        self._out: list[str] = []
        self._line_ends = 0
        self._is_spaced = False
        self._is_fresh = True
        self._dropped = ""
        self._is_hidden = False
        self._within: Counter[str] = Counter()
        self._around = ""
        self._depth = 0
        self._began = 0
        self._spans: list[tuple[int, int]] = []
        self._cores = 0
        self._lists: list[int | None] = []
        self._cells = 0
        self._is_verbatim = False
        self._link = ""
        self._label_at = -1

    def text(self) -> str:
        """What was read so far."""
        self._end_link()
        if self._around:
            self._leave()
        everything = "".join(self._out)
        if self._is_whole or not self._spans:
            return everything
        ends = [0, *(at for span in self._spans for at in span), len(self._out)]
        left = "".join(
            piece for begin, end in zip(ends[::2], ends[1::2], strict=True) for piece in self._out[begin:end]
        )
        return left if len(left.strip()) >= _LEAST_TEXT else everything

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropped and self._is_hidden and self._is_followed_by(tag):
            self._dropped = ""
        if self._dropped:
            self._within[tag] += tag not in _VOID
            return
        attributes = dict(attrs)
        is_hidden = tag not in ("html", "body") and _is_hidden(attributes)
        if tag in _DROPPED or is_hidden:
            if tag not in _VOID:
                self._dropped, self._is_hidden = tag, is_hidden and tag not in _DROPPED
                self._within.clear()
            return
        self._enter(tag, attributes)
        self._begin(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if not self._dropped:
            self._end(tag)
            self._exit(tag)
        elif self._within[tag]:
            self._within[tag] -= 1
        elif tag == self._dropped:
            self._dropped = ""
        elif self._is_hidden and tag in _CONTAINERS:
            self._dropped = ""
            self.handle_endtag(tag)

    def _is_followed_by(self, tag: str) -> bool:
        """Whether what is hidden ends without saying so, for this begins."""
        if self._dropped == "p":
            return tag in _PARAGRAPHS or tag in ("div", "li", "address", "hr", "pre")
        is_next = tag == self._dropped or {tag, self._dropped} in ({"td", "th"}, {"dt", "dd"})
        return is_next and tag in _OPEN_ENDED and not any(self._within[one] for one in _HOLDERS)

    def _enter(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        """Note where what stands around the text begins."""
        self._cores += tag in _CORE
        if self._around and tag == "main":
            self._leave()
        elif self._around:
            self._depth += tag == self._around
        elif not self._cores and (tag in _AROUND or (attributes.get("role") or "").lower() in _AROUND_ROLES):
            self._end_link()
            self._around, self._depth, self._began = tag, 1, len(self._out)

    def _exit(self, tag: str) -> None:
        self._cores = max(0, self._cores - (tag in _CORE))
        if tag == self._around:
            self._depth -= 1
            if not self._depth:
                self._leave()

    def _leave(self) -> None:
        self._end_link()
        self._spans.append((self._began, len(self._out)))
        self._around = ""

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        if self._is_verbatim:
            self._say(data)
            return
        text = _SPACE.sub(" ", data)
        self._is_spaced = self._is_spaced or text.startswith(" ")
        if text := text.removeprefix(" "):
            self._say(text.removesuffix(" "))
            self._is_spaced = text.endswith(" ")

    def _begin(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        self._break(2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0)
        match tag:
            case "a":
                self._begin_link(attributes.get("href") or "")
            case "base":
                self._base = self._address(attributes.get("href") or "") or self._base
            case "ul" | "ol":
                self._lists.append(1 if tag == "ol" else None)
            case "li":
                self._begin_item()
            case "tr":
                self._cells = 0
            case "td" | "th":
                if self._cells:
                    self._say(" | ")
                self._cells += 1
            case "pre":
                self._break(2)
                self._say("```\n")
                self._is_verbatim = True
            case "code" if not self._is_verbatim:
                self._say("`")
                self._is_fresh = True
            case "br":
                self._line_ends = min(2, self._line_ends + 1)
            case "hr":
                self._break(2)
                self._say("---")
                self._break(2)
            case "img":
                if alternative := " ".join((attributes.get("alt") or "").split()):
                    self._say(f"[image: {alternative[:_MAX_LINK]}]")
            case _ if tag in _HEADINGS and self._label_at < 0:
                self._say(f"{'#' * int(tag[1])} ")
                self._is_fresh = True

    def _end(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif tag == "pre" and self._is_verbatim:
            self._is_verbatim = False
            self._say("\n```")
            self._break(2)
        elif tag == "code" and not self._is_verbatim:
            self._is_spaced = False
            self._say("`")
        self._break(2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0)

    def _begin_item(self) -> None:
        self._is_fresh = False
        self._break(1)
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        indent = "  " * (min(len(self._lists), _MAX_INDENT) - 1)
        self._say(f"{indent}- " if number is None else f"{indent}{number}. ")
        self._is_fresh = True

    def _begin_link(self, href: str) -> None:
        self._end_link()
        self._say("")
        self._label_at = len(self._out)
        self._link = "" if href.startswith("#") else self._address(href)

    def _end_link(self) -> None:
        if self._label_at < 0:
            return
        label = " ".join("".join(self._out[self._label_at :]).split())
        del self._out[self._label_at :]
        self._label_at = -1
        if label:
            self._write(f"[{label}]({self._link})" if self._link not in ("", label) else label)

    def _address(self, href: str) -> str:
        """Where a link leads, if that is an address that can be said."""
        if not href:
            return ""
        try:
            address = urljoin(self._base, "".join(href.split()))
        except ValueError:
            return ""
        if len(address) > _MAX_LINK or not address.startswith(("http://", "https://", "mailto:")):
            return ""
        return address.replace("(", "%28").replace(")", "%29")

    def _break(self, line_ends: int) -> None:
        # What has just been numbered or marked begins on the same line.
        if not self._is_fresh:
            self._line_ends = max(self._line_ends, line_ends)

    def _say(self, text: str) -> None:
        if self._line_ends:
            self._write("\n" * self._line_ends)
        elif self._is_spaced and not self._is_fresh:
            self._write(" ")
        self._line_ends, self._is_spaced = 0, False
        if text:
            self._write(text)
            self._is_fresh = False

    def _write(self, text: str) -> None:
        self._out.append(text)
        self.size += len(text)
