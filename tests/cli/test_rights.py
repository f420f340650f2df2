"""A process whose rights on the bus fall short of what it needs says so when it starts, and ends."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from factory_cli.config import Configuration
from factory_cli.home import Home
from factory_cli.membership import users
from factory_contracts import subjects
from factory_nats.server import EmbeddedServer
from tests.cli.installation import Factory

REMEDY = "`factory nats config` prints what belongs into the server's configuration"
COMMANDS = {
    "hub": ("hub",),
    "clipool": ("worker", "clipool"),
    "cli-main": ("adapter", "cli"),
    "reader": ("turns", "ls"),
}


@pytest.mark.parametrize(
    ("name", "subject", "is_heard"),
    [
        ("hub", subjects.plane("events")[0], True),
        ("hub", subjects.plane("turns")[0], False),
        ("clipool", subjects.clipool_permissions("clipool").publish[1], False),
        ("cli-main", subjects.spoke_permissions("cli", "main").publish[0], False),
        ("cli-main", f"$O.{subjects.blobs('cli', 'main')}.C.*", False),
        ("reader", f"$JS.API.DIRECT.GET.{subjects.STREAM}", False),
    ],
)
async def test_what_is_missing_is_named_with_what_to_do_and_the_process_ends(
    factory: Factory, tmp_path: Path, name: str, subject: str, is_heard: bool
) -> None:
    home = Home(factory.home)
    home.prepare()
    listed = [
        replace(
            user,
            publish=tuple(one for one in user.publish or () if one != subject or user.identity != name),
            subscribe=tuple(one for one in user.subscribe or () if one != subject or user.identity != name),
        )
        for user in users(home, Configuration())
    ]
    async with EmbeddedServer(tmp_path / "theirs", users=listed) as server:
        done = await asyncio.to_thread(factory.run, *COMMANDS[name], NATS_URL=server.url, text="hello")

    verb = "subscribe" if is_heard else "publish"
    assert done.returncode == 1
    assert f"the server does not let {name} {verb} to {subject}, which it needs; {REMEDY}" in done.stderr
    assert "Traceback" not in done.stderr
