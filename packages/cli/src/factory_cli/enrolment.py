"""The set-up of a platform's bot: whose token it is, where that is kept, and the code by which it gets an owner."""

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from getpass import getpass

import typer

from factory_cli import config, inquiry, joining, keeping, pairing, tokens
from factory_cli.amendment import NotAmended, amend
from factory_cli.config import Bot
from factory_cli.console import Failed, is_piped, say_table
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document
from factory_cli.inquiry import Account
from factory_cli.platforms import PLATFORMS, Platform
from factory_cli.question import Unanswered, UnknownToken
from factory_cli.tokens import Token

TRIES = 3


def enrol(where: Home, bot: Bot, api_base: str | None, *, is_json: bool) -> None:
    """Ask for what is missing, check it, write it down and say how to go on. Doing it again gives a fresh code."""
    platform, configuration = PLATFORMS[bot.platform], config.load(where.configuration)
    others = [other for other in configuration.of(bot.platform) if other.bot_id != bot.bot_id]
    variables = config.platforms_variables(bot.platform)
    token, account = _known(
        where, (*others, bot), variables, api_base or config.api_base(configuration, bot.platform, variables)
    )
    _alone(where, (*others, bot), variables, token)
    if token.source != str(tokens.path_of(where.keys, bot)):
        _talk(f"the token is kept in {tokens.keep(where.keys, bot, token)}")
    try:
        is_new = amend(where.configuration, bot, api_base)
    except NotAmended as error:
        raise Failed(str(error)) from None
    if is_new:
        keeping.tell(where)
    _talk(f"{where.configuration} {'has been told of' if is_new else 'knows'} {bot.identity}")
    code, expires_at = pairing.offer(where.keys, bot.identity, time.time())
    if is_json:
        told = {"platform": bot.platform, "bot": bot.bot_id, **account.document(configuration, code)}
        say_document({**told, "code": code, "expires_at": expires_at})
    else:
        say_table([(name, harmless(said)) for name, said in (*account.rows(configuration, code), ("code", code))])
    until = datetime.fromtimestamp(expires_at).strftime("%H:%M")
    _talk(f"who {platform.claim}: the first one, once, until {until}")
    _talk(_next(platform, is_new, joining.running(where) is not None))


def _known(where: Home, bots: Sequence[Bot], variables: Mapping[str, str], api_base: str) -> tuple[Token, Account]:
    """The token, found or asked for, and whose it is. A person may try again, a program may not."""
    bot = bots[-1]
    token = _found(where, bots, variables)
    for _ in range(TRIES):
        token = token or _asked(PLATFORMS[bot.platform])
        try:
            return token, inquiry.look(bot.platform, api_base, token.value)
        except UnknownToken as error:
            if is_piped():
                raise Failed(f"{bot.identity}: {error}; it comes from {token.source}") from None
            _talk(f"{error}; it comes from {token.source}")
            token = None
        except Unanswered as error:
            raise Failed(f"{bot.identity}: {error}") from None
    raise Failed("none of these tokens is known; nothing was changed")


def _found(where: Home, bots: Sequence[Bot], variables: Mapping[str, str]) -> Token | None:
    """The token that is there already; None where a person is to be asked."""
    bot = bots[-1]
    try:
        token = tokens.find(bot, bots, variables, where.keys)
    except BadConfiguration as error:
        if is_piped():
            raise
        _talk(str(error))
        return None
    if token is not None:
        _talk(f"the token of {bot.identity} comes from {token.source}")
    elif is_piped():
        token = _piped(PLATFORMS[bot.platform])
        if token is None:
            ways = f"set {tokens.ways(bot, bots)}, or pipe it in"
            _talk(f"{bot.identity} has no token: {ways}; at a terminal you are asked for it")
            raise typer.Exit(2)
    return token


def _piped(platform: Platform) -> Token | None:
    """The token that is all of the line piped in; None where nothing is. Raises `Failed`."""
    said = sys.stdin.buffer.readline().decode(errors="replace").strip()
    if said and not platform.token.fullmatch(said):
        raise Failed(f"what is piped in {platform.no_token}")
    return Token(said, "what is piped in") if said else None


def _asked(platform: Platform) -> Token:
    _talk(platform.source)
    while True:
        try:
            # Asked in one go: a prompt that stands there before the echo is off would lose what is typed at once.
            said = getpass("Token (not shown): ")
        except EOFError:
            raise typer.Abort from None
        if platform.token.fullmatch(said.strip()):
            return Token(said.strip(), "what you typed")
        _talk(f"that {platform.no_token}")


def _alone(where: Home, bots: Sequence[Bot], variables: Mapping[str, str], token: Token) -> None:
    """Two bots of one account would take each other's messages away."""
    for other in bots[:-1]:
        theirs = tokens.find(other, bots, variables, where.keys)
        if theirs is not None and theirs.account == token.account:
            raise Failed(f"that is the token of {other.identity} already; each bot needs an account of its own")


def _next(platform: Platform, is_new: bool, is_running: bool) -> str:
    if is_new and is_running:
        return f"what runs here does not know the bot yet: end it, start it again (factory up), then {platform.act}"
    return platform.act if is_running else f"start it (factory up), then {platform.act}"


def _talk(words: str) -> None:
    print(f"factory: {words}", file=sys.stderr, flush=True)
