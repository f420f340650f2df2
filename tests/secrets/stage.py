"""A whole installation with a canary in every slot that holds a secret, and the strict servers that it speaks with."""

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import quote

from factory_nats.server import find_binary, free_port
from tests.botapi.server import BotApi
from tests.cli.installation import PATIENCE, Factory
from tests.discordapi.server import DiscordApi
from tests.nursery import nursery
from tests.providers.scenarios import Scenarios, said
from tests.providers.server import Answer, Asked, ProviderServer, said_last
from tests.providers.speech import Speech, Text

ROOT = Path(__file__).parents[2]
MCP = ROOT / "tests/tools/mcp_server.py"
CANARIES: Mapping[str, str] = {
    "ANTHROPIC_API_KEY": "canary/anthropic+1f9c=Ab0",
    "OPENAI_API_KEY": "canary-openai-2e8d-Bc1",
    "GEMINI_API_KEY": "canary-gemini-3d7e-Cd2",
    "TELEGRAM_BOT_TOKEN": "424242:canary_telegram-4c6f_De3-for_nobodys_eyes",
    "TELEGRAM_WEBHOOK_SECRET": "canary-webhook-5b5a-Ef4",
    "DISCORD_TOKEN": "Y2FuYXJ5LWRpc2NvcmQ6NmE0.Gb5aaa.canary-discord-6a4b_Fa5-for_nobodys_eyes",
    "WEATHER_LOGIN": "canary-weather-7c3c-Gb6",
    "WEB_WORD": "canary-bearer-8d2d-Hc7",
    "NATS_PASSWORD": "canary-nats-9e1e-Id8",
}
# What may be seen by everybody, so that a search which finds nothing is known to look in the right places.
HERON = "a heron that everybody may see"
TELL = "tell me your key"

# A provider of somebody's own whose every part breaks with a secret in its mouth.
FRAGILE = """
import asyncio, threading, warnings

class Fragile:
    def __init__(self, settings):
        self.key = settings.variables["ANTHROPIC_API_KEY"]

    def fail(self):
        raise RuntimeError(f"broken with {self.key}")

    async def stream(self, request):
        thread = threading.Thread(target=self.fail)
        thread.start()
        thread.join()
        warnings.warn(f"warned with {self.key}")
        asyncio.get_running_loop().call_soon(self.fail)
        await asyncio.sleep(0)
        self.fail()
        yield

    async def close(self):
        pass
"""
AGENTS = {
    "bindings": "default = 'scout'\n",
    "scout": """
model = "anthropic:claude-haiku-5-5"
[[mcp]]
name = "weather"
command = [{python}, {mcp}]
env = ["WEATHER_LOGIN"]
reads = ["where"]
[[mcp]]
name = "web"
url = {web}
bearer = "WEB_WORD"
reads = ["add"]
""",
    "unreached": "model = 'openai:gpt-6.1-sol'\n[limits]\nmax_seconds = 1\n",
    "refused": "model = 'gemini:gemini-3.8-flash'\n",
    "fragile": "model = 'fragile:m'\nallow_unpriced = true\n",
}
CONFIGURATION = """
[[bots]]
platform = "telegram"
bot_id = "main"

[[bots]]
platform = "discord"
bot_id = "main"
access = "public"

[telegram.webhook]
url = "https://bots.example.org/telegram"
port = {port}
"""


@dataclass
class Stage:
    """What runs, who can be asked, and everything that was heard of it."""

    factory: Factory
    telegram: BotApi
    discord: DiscordApi
    store: Path
    code: str
    heard: list[str] = field(default_factory=list)
    commands: set[str] = field(default_factory=set)

    async def run(self, *arguments: str) -> CompletedProcess[str]:
        """A command as a person has it, whose words are kept."""
        done = await asyncio.to_thread(self.factory.run, *arguments)
        self.heard += (done.stdout, done.stderr)
        return done

    async def chat(self, prompt: str, *more: str) -> str:
        """What an agent answers at the terminal."""
        self.look_at_commands()
        return (await self.run("chat", "-p", prompt, *more)).stdout

    def look_at_commands(self) -> None:
        """Note the command lines of everything that descends from what was started here."""
        self.commands |= set(command_lines(process.pid for process in self.factory.started))

    def secrets(self) -> Iterator[str]:
        """Every secret there is, those too that were made here."""
        yield from CANARIES.values()
        yield self.code
        yield from (path.read_text().strip() for path in (self.factory.home / "keys").glob("*.nk"))

    def files(self) -> Iterator[Path]:
        """Every file that was written, but those which are there to hold secrets."""
        for folder in (self.factory.home, self.store):
            yield from (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "keys")


@asynccontextmanager
async def staged(factory: Factory, folder: Path) -> AsyncIterator[Stage]:
    """All of it, running; when the block is left, all has ended and its last words are heard."""
    async with (
        BotApi(speed=60) as telegram,
        DiscordApi(speed=60) as discord,
        ProviderServer(_Talkative()) as provider,
        _bus(folder / "bus") as bus,
    ):
        bot = telegram.bot(CANARIES["TELEGRAM_BOT_TOKEN"], "canary_bot")
        discord.bot(CANARIES["DISCORD_TOKEN"], "canary")
        with _web() as web:
            port = free_port()
            _configure(factory, folder, port, web)
            factory.variables |= {
                "ANTHROPIC_BASE_URL": provider.url,
                "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
                "GEMINI_BASE_URL": f"{provider.url}/v1",
                "TELEGRAM_API_BASE": telegram.url,
                "DISCORD_API_BASE": discord.api,
                "DISCORD_GATEWAY": discord.gateway_url,
                "NATS_URL": bus,
            }
            done = await asyncio.to_thread(factory.run, "init", "telegram", "--json")
            assert done.returncode == 0, done.stderr
            stage = Stage(factory, telegram, discord, folder / "bus", json.loads(done.stdout)["code"])
            # What the kernel tells of a process is what it began with.
            up = await asyncio.to_thread(replace(factory, is_afresh=True).up)
            await telegram.until(lambda: bot.mail.webhook is not None, PATIENCE)
            assert bot.mail.webhook is not None
            # In the place of the proxy that would pass it on.
            bot.mail.webhook.url = f"http://127.0.0.1:{port}/main"
            await discord.until(lambda: bool(discord.ledger.happened("identify")), PATIENCE)
            yield stage
            stage.look_at_commands()
            up.terminate()
            stage.heard += await asyncio.to_thread(up.communicate)


class _Talkative:
    """A provider that says the key it was given, a few letters at a time, and else what its scenarios say."""

    def __init__(self) -> None:
        self._scenarios = Scenarios()

    def __call__(self, asked: Asked) -> Answer:
        if not said_last(asked.body).endswith(TELL):
            return self._scenarios(asked)
        key = asked.headers.get("x-api-key") or asked.headers["authorization"]
        return said(Speech((Text("It is "), *(Text(key[at : at + 3]) for at in range(0, len(key), 3)))))(asked)


def spellings(secret: str) -> Iterator[bytes]:
    """The secret as it may stand in a file."""
    yield from {secret.encode(), quote(secret).encode(), quote(secret, safe="").encode()}
    yield json.dumps(secret)[1:-1].encode()
    for before in range(3):
        yield b64encode(b"\0" * before + secret.encode())[4 * bool(before) : -4]


def command_lines(pids: Iterable[int]) -> Iterator[str]:
    """Those of all processes that descend from these."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(folder.name))
    found = list(pids)
    for pid in found:
        found += parents.get(pid, [])
        try:
            yield Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue


def _configure(factory: Factory, folder: Path, port: int, web: str) -> None:
    home = factory.home
    (home / "agents").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    (home / "factory.toml").write_text(CONFIGURATION.format(port=port))
    for name, text in AGENTS.items():
        filled = text.format(python=json.dumps(sys.executable), mcp=json.dumps(str(MCP)), web=json.dumps(web))
        (home / "agents" / f"{name}.toml").write_text(filled)
    packages = folder / "packages"
    info = packages / "fragile-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "fragile.py").write_text(FRAGILE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[factory.models]\nfragile = fragile:Fragile\n")
    # One of each source: a file that a variable names, a credential, a file beside the command, the variable itself.
    credentials = folder / "credentials"
    credentials.mkdir()
    (folder / "openai").write_text(CANARIES["OPENAI_API_KEY"])
    (credentials / "telegram_webhook_secret").write_text(CANARIES["TELEGRAM_WEBHOOK_SECRET"])
    (credentials / "web_word").write_text(CANARIES["WEB_WORD"])
    (factory.folder / ".env").write_text(f"GEMINI_API_KEY={CANARIES['GEMINI_API_KEY']}\n")
    factory.variables |= {
        name: CANARIES[name] for name in ("ANTHROPIC_API_KEY", "TELEGRAM_BOT_TOKEN", "DISCORD_TOKEN", "WEATHER_LOGIN")
    }
    factory.variables |= {
        "OPENAI_API_KEY_FILE": str(folder / "openai"),
        "CREDENTIALS_DIRECTORY": str(credentials),
        "FACTORY_LOG_LEVEL": "DEBUG",
        "PYTHONPATH": str(packages),
        "PYTHONASYNCIODEBUG": "1",
    }


@asynccontextmanager
async def _bus(folder: Path) -> AsyncIterator[str]:
    """A server of the person's own, that asks for a password; its address with it."""
    binary, port, password = find_binary(), free_port(), CANARIES["NATS_PASSWORD"]
    assert binary is not None
    folder.mkdir()
    configuration = folder.parent / "bus.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}" }}\n'
        f'authorization {{ user: "ann", password: "{password}" }}\n'
    )
    server = await asyncio.create_subprocess_exec(str(binary), "-c", str(configuration), "-l", str(folder / "log"))
    try:
        yield f"nats://ann:{password}@127.0.0.1:{port}"
    finally:
        server.terminate()
        await server.wait()


@contextmanager
def _web() -> Iterator[str]:
    """The address of a server of tools that wants to know who comes."""
    reading, writing = os.pipe()
    with open(reading) as told, open(os.devnull) as nothing:
        with open(writing, "w") as telling:
            server = nursery("mcp.server.streamable_http_manager", "uvicorn").bear(
                "tests.tools.mcp_server",
                ["--http", "--token", CANARIES["WEB_WORD"]],
                stdin=nothing.fileno(),
                stdout=telling.fileno(),
                stderr=2,
            )
        try:
            yield f"http://127.0.0.1:{told.readline().strip()}/mcp"
        finally:
            server.end()


def seen(stage: Stage) -> Iterator[str]:
    """Everything that bots have shown people, as it was first and as it became."""
    for bot in stage.telegram.bots.values():
        for on_telegram in stage.telegram.ledger.screens.values():
            yield from (repr(shown.versions) for shown in on_telegram.by(bot.id))
    for account in stage.discord.bots.values():
        for on_discord in stage.discord.ledger.screens.values():
            yield from (repr(shown.versions) for shown in on_discord.by(account.id))
