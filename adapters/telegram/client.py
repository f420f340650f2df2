"""Telegram as the spoke asks it: aiogram's client, whose errors are told in the few words that matter here."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar, cast

from aiohttp import ClientError, ClientSession, TraceConfig

from adapters.chat.raw import object_of, whole_of
from adapters.chat.trouble import Barred, Rejected, Unauthorized, Unreachable
from adapters.spoke import NotNow
from adapters.telegram.sdk import (
    AiogramError,
    AiohttpSession,
    Bot,
    ClientDecodeError,
    GetFile,
    GetMe,
    Message,
    Response,
    TelegramAPIError,
    TelegramAPIServer,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMethod,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
    TokenValidationError,
    User,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

CALL_SECONDS = 20
POLL_SECONDS = 25
FILE_SECONDS = 120
MOST_UPDATES = 100
# A clock of theirs that is a little behind ours must not make us too early.
MARGIN = 0.3
# What a server of the Bot API says that is older than what is asked of it.
NO_METHOD = "method not found"
ASKED_FOR = ("message", "channel_post", "callback_query", "stopped_message_generation", "my_chat_member")


class Conflict(Exception):
    """Somebody else takes this bot's updates: another process, or a webhook."""


class _Updates(TelegramMethod[list[Any]]):
    """Updates as they are: one that no model of ours knows must not cost us those beside it."""

    __returning__ = list[Any]
    __api_method__ = "getUpdates"

    offset: int | None = None
    limit: int | None = None
    timeout: int | None = None
    allowed_updates: list[str] | None = None


class _Session(AiohttpSession):
    """Looks once more, on a connection that stands, whether what is about to be sent may be."""

    def __init__(self, may: Callable[..., Awaitable[None]], **how: Any) -> None:
        super().__init__(**how)
        self._trace = TraceConfig()
        self._trace.on_connection_reuseconn.append(may)
        self._trace.on_connection_create_end.append(may)
        self._trace.freeze()

    async def create_session(self) -> ClientSession:
        session = await super().create_session()
        if not session.trace_configs:
            session.trace_configs.append(self._trace)
        return session

    def check_response(self, bot: Bot, method: TelegramMethod[T], status_code: int, content: str) -> Response[T]:
        if status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            # A proxy before Telegram says so in words of its own.
            raise TelegramEntityTooLarge(method=method, message="Request Entity Too Large")
        return super().check_response(bot, method, status_code, content)


async def _always() -> None:
    """There is nothing to wait for."""


class Client:
    """One bot's connection to Telegram. Raises `BadToken` for what is no token at all."""

    def __init__(self, token: str, api_base: str) -> None:
        session = _Session(self._may, api=TelegramAPIServer.from_base(api_base), timeout=CALL_SECONDS)
        try:
            self._bot = Bot(token, session=session)
        except TokenValidationError:
            raise Unauthorized(
                "this is no bot's token: it should look like 123456789:ABC…, as BotFather gave it"
            ) from None
        self._token = token
        self._held: Callable[[], Awaitable[None]] = _always
        self._moved: dict[int, int] = {}

    def heed(self, held: Callable[[], Awaitable[None]]) -> None:
        """From here on nothing is asked before this returns."""
        self._held = held

    async def me(self) -> User:
        """Who this bot is."""
        return await self.ask(GetMe())

    async def updates(self, offset: int | None, seconds: int) -> list[Any]:
        """What people did since; asking with an offset confirms all that came before it."""
        method = _Updates(offset=offset, limit=MOST_UPDATES, timeout=seconds, allowed_updates=list(ASKED_FOR))
        return await self.ask(method, timeout=seconds + CALL_SECONDS)

    async def download(self, file_id: str) -> bytes:
        """A file's bytes."""
        file = await self.ask(GetFile(file_id=file_id))
        if not file.file_path:
            raise Rejected("the file has no path")
        into = BytesIO()
        try:
            await self._bot.download_file(file.file_path, into, timeout=FILE_SECONDS)
        except (ClientError, TimeoutError) as error:
            raise Unreachable(self._told(error)) from None
        return into.getvalue()

    async def ask(self, method: TelegramMethod[T], *, timeout: int | None = None) -> T:
        """Have a method done.

        A group that became a supergroup is found under its new id, and what belongs into a topic that is gone goes
        where all goes. Raises `NotNow`, `Rejected`, `Barred`, `Unauthorized`, `Conflict`, `Unreachable`.
        """
        chat = getattr(method, "chat_id", None)
        if chat in self._moved:
            method = method.model_copy(update={"chat_id": self._moved[chat]})
        try:
            return await self._ask(method, timeout)
        except TelegramMigrateToChat as error:
            if not isinstance(chat, int):
                raise Rejected(error.message) from None
            self._moved[chat] = error.migrate_to_chat_id
            return await self.ask(method.model_copy(update={"chat_id": error.migrate_to_chat_id}), timeout=timeout)
        except Rejected as error:
            if "message thread not found" not in str(error) or getattr(method, "message_thread_id", None) is None:
                raise
            return await self.ask(method.model_copy(update={"message_thread_id": None}), timeout=timeout)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._bot.session.close()

    async def _may(self, *_: object) -> None:
        await self._held()

    async def _ask(self, method: TelegramMethod[T], timeout: int | None) -> T:
        await self._held()
        try:
            return await self._bot(method, request_timeout=timeout)
        except TelegramMigrateToChat:
            raise
        except TelegramRetryAfter as error:
            raise NotNow(error.retry_after + MARGIN) from None
        except TelegramUnauthorizedError:
            raise Unauthorized("Telegram does not know this token (any more)") from None
        except TelegramConflictError as error:
            raise Conflict(error.message) from None
        except TelegramForbiddenError as error:
            raise Barred(error.message) from None
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:
            raise Rejected(error.message) from None
        except TelegramNotFound as error:
            # A method that the server does not have is told as a token that it does not know.
            if reasons(error, NO_METHOD):
                raise Rejected(error.message) from None
            raise Unauthorized(f"Telegram knows no such bot: {error.message}") from None
        except ClientDecodeError as error:
            told = object_of(error.data)
            sent = whole_of(object_of(told.get("result")).get("message_id"))
            if told.get("ok") is not True or sent is None:
                raise Unreachable(self._told(error)) from None
            # Done again, a message of a kind that aiogram does not know would stand there twice.
            return cast(T, Message.model_construct(message_id=sent))
        except (TelegramNetworkError, TelegramServerError) as error:
            raise Unreachable(self._told(error)) from None
        except TelegramAPIError as error:
            raise Rejected(error.message) from None
        except (TimeoutError, AiogramError, ClientError, OSError, UnicodeError) as error:
            raise Unreachable(self._told(error)) from None

    def _told(self, error: Exception) -> str:
        """What went wrong, without the token, which addresses hold."""
        return f"{type(error).__name__}: {error}".replace(self._token, "<token>")[:300]


def reasons(error: Exception, *words: str) -> bool:
    """Whether Telegram's own words name one of these reasons."""
    told = str(error).lower()
    return any(word in told for word in words)
