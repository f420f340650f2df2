"""`factory ask`: what an agent can ask of a worker, typed by a person."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from factory_cli import config, joining, privacy
from factory_cli.console import Failed, HomeOption, JsonOption, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document
from factory_contracts import subjects

CONNECTING = 5.0
SECONDS = 300.0
_MOST_ALIKE = 10_000


def ask(
    capability: Annotated[str, typer.Argument(metavar="CAPABILITY", help="Such as voice.tts, image.qr.")],
    words: Annotated[str, typer.Argument(metavar="[WORDS]", help="What is wanted, where words say it.")] = "",
    arguments: Annotated[list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="A detail.")] = None,
    files: Annotated[list[str] | None, typer.Option("--file", metavar="NAME=PATH", help="A file as one.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where what is made goes.")] = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """Ask a worker yourself: what an agent could ask."""
    with told():
        import asyncio

        privacy.seal()
        where, environment = surroundings(home)
        privacy.report("WARNING", privacy.of_surroundings(environment.nats_url))
        running = joining.running(where)
        if running is None and environment.nats_url is None:
            raise Failed(f"nothing runs on {where.path}; `factory chat` or `factory up` starts it")
        configuration = config.load(where.configuration)
        known = [one.capability for one in config.workers_of(configuration)]
        if capability not in known:
            there = f"there is: {', '.join(dict.fromkeys(known))}" if known else "there is none"
            raise Failed(f"nobody may serve {capability!r} here; {there}")
        url = running.url if running is not None else environment.nats_url or ""
        details, contents = _pairs("--arg", arguments), _pairs("--file", files)
        given = {name: b64encode(Path(path).read_bytes()).decode() for name, path in contents.items()}
        text, made = asyncio.run(_ask(where, url, capability, words, details, given))
        paths = [_put(name, data, out if number == 0 else None) for number, (name, data) in enumerate(made)]
    if is_json:
        say_document({"text": text, "files": [str(path) for path in paths]})
        return
    for line in (text, *map(str, paths)):
        if line:
            typer.echo(harmless(line))


async def _ask(
    where: Home, url: str, capability: str, words: str, details: Mapping[str, str], given: Mapping[str, str]
) -> tuple[str, Sequence[tuple[str, bytes]]]:
    """What came of it: words and files. Raises `Failed`."""
    import secrets

    from adapters.nats.fleet import Fleet, Fulfilled, Wish
    from factory_cli import membership
    from factory_contracts.capability import CapabilityProgress, CapabilityRefused
    from factory_nats.connect import connect
    from factory_nats.result import Err

    def hear(progress: CapabilityProgress) -> None:
        share = "" if progress.share is None else f"{100 * progress.share:.0f} % "
        typer.echo(f"factory: {share}{harmless(progress.words)}", err=True)

    identity = membership.identity(where, config.load(where.configuration), subjects.ASKER)
    connected = await connect(url, identity, name="factory asks", patience=CONNECTING)
    if isinstance(connected, Err):
        raise Failed(f"the bus cannot be joined: {connected.detail}")
    fleet = Fleet(connected.value, capability)
    try:
        problem = await fleet.listen()
        described = None if problem is not None else await fleet.describe()
        if described is None:
            raise Failed(f"nobody serves {capability!r} now; `factory doctor` tells what is missing")
        whole = json.dumps({**_typed(details, json.loads(described.parameters)), **given}, ensure_ascii=False)
        wish = Wish(f"ask-{secrets.token_hex(8)}", "ask", min(described.seconds, SECONDS), words, whole)
        came = await fleet.ask(wish, effect=described.effect, hear=hear)
    finally:
        await fleet.close()
        await connected.value.close()
    match came:
        case Fulfilled():
            return came.text, came.files
        case CapabilityRefused():
            raise Failed(harmless(came.words) or f"the worker for {capability} gives no reason")
        case Err():
            raise Failed(f"the workers for {capability} cannot be asked: {came.detail}")


def _pairs(option: str, said: Sequence[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in said or ():
        name, sign, value = one.partition("=")
        if not (name and sign):
            raise Failed(f"{option} takes NAME=VALUE, not {one!r}")
        found[name] = value
    return found


def _typed(details: Mapping[str, str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The details as the worker wants them: what is no text is read as JSON."""
    known: Mapping[str, Any] = parameters.get("properties", {})
    found: dict[str, Any] = {}
    for name, value in details.items():
        if known and name not in known:
            raise Failed(f"there is no detail {name!r}; there is: {', '.join(known)}")
        found[name] = value
        if known.get(name, {}).get("type") != "string":
            try:
                found[name] = json.loads(value)
            except ValueError:
                continue
    return found


def _put(name: str, data: bytes, out: Path | None) -> Path:
    """Where the file lies now; nothing is replaced that was not named."""
    if out is not None:
        out.write_bytes(data)
        return out
    safe = Path("".join(one if one.isprintable() and one not in "/\\" else "_" for one in name).lstrip(".") or "file")
    for path in (safe, *(safe.with_stem(f"{safe.stem} ({number})") for number in range(2, _MOST_ALIKE))):
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            continue
        return path
    raise Failed(f"there are too many files like {safe} here")
