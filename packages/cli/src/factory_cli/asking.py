"""`factory ask`: what an agent can ask of a worker or do with a tool, typed by a person."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from factory_cli import config, joining, privacy
from factory_cli.console import Failed, HomeOption, JsonOption, surroundings, told, utf8
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document
from factory_contracts import subjects

CONNECTING = 5.0
SECONDS = 300.0
_MOST_ALIKE = 10_000

# What came of it: words, and files by their names.
Came = tuple[str, Sequence[tuple[str, bytes]]]


def ask(
    capability: Annotated[str, typer.Argument(metavar="CAPABILITY", help="Such as voice.tts, image.qr, fetch.")],
    words: Annotated[
        str, typer.Argument(metavar="[WORDS]", callback=utf8, help="What is wanted, where words say it.")
    ] = "",
    arguments: Annotated[list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="A detail.")] = None,
    files: Annotated[list[str] | None, typer.Option("--file", metavar="NAME=PATH", help="A file as one.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where what is made goes.")] = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """Ask a worker, or use a tool, as an agent could."""
    with told():
        import asyncio

        from factory_cli import keeping

        if out is not None and not out.parent.is_dir():
            raise Failed(f"--out: there is no folder {out.parent}")
        privacy.seal()
        where, environment = surroundings(home)
        privacy.report("WARNING", privacy.of_surroundings(environment.nats_url))
        configuration = keeping.known(where)
        known = [one.capability for one in config.workers_of(configuration)]
        details, contents = _pairs("--arg", arguments), _pairs("--file", files)
        given = {name: b64encode(_read(path)).decode() for name, path in contents.items()}
        # What is served has its own name, and what is not needs nobody who runs.
        came = None if capability in known else asyncio.run(_use(where, capability, words, details, given))
        if came is None:
            running = joining.running(where)
            if running is None and environment.nats_url is None:
                raise Failed(f"nothing runs on {where.path}; `factory chat` or `factory up` starts it")
            if capability not in known:
                there = f"there is: {', '.join(dict.fromkeys(known))}" if known else "there is none"
                others = "`factory tools list` names what needs nobody"
                raise Failed(f"nobody may serve {capability!r} here; {there}; {others}")
            url = running.url if running is not None else environment.nats_url or ""
            came = asyncio.run(_ask(where, url, capability, words, details, given))
        text, made = came
        if out is not None and not made:
            if not text:
                raise Failed(f"{capability} said nothing and made no file, so that nothing is written to {out}")
            text, made = "", ((out.name, text.encode()),)
        paths = [_put(name, data, out if number == 0 else None) for number, (name, data) in enumerate(made)]
    if is_json:
        say_document({"text": text, "files": [str(path) for path in paths]})
        return
    for line in (*text.splitlines(), *map(str, paths)):
        typer.echo(harmless(line))


async def _use(where: Home, name: str, words: str, details: Mapping[str, str], given: Mapping[str, str]) -> Came | None:
    """What came of the tool of that name, for which nobody need run; None where there is none. Raises `Failed`."""
    from dataclasses import replace

    from adapters.models.hand import arguments
    from factory_cli.offering import OCCASION, offered
    from hub.kernel.foreign import bare
    from hub.kernel.ports import ToolFailed
    from hub.kernel.schema import complaint, read

    where.prepare()
    tool = next((tool for tool in await offered(where) if tool.spec.name == name), None)
    if tool is None:
        return None
    parameters = json.loads(tool.spec.parameters)
    meant, problem = read(arguments(words, tool.spec.parameters))
    if problem:
        raise Failed(f"{name}: {problem}")
    whole = {**json.loads(meant), **_typed(details, parameters), **given}
    missing = [needed for needed in parameters.get("required", ()) if needed not in whole]
    if missing:
        raise Failed(f"{name} needs {missing[0]!r}: type it, or --arg {missing[0]}=VALUE")
    if problem := complaint(parameters, whole):
        raise Failed(f"{name}: {problem}")
    try:
        # A person who types was led here by nobody.
        came = await tool.tool.run(json.dumps(whole, ensure_ascii=False), replace(OCCASION, is_tainted=False))
    except ToolFailed as failed:
        raise Failed(harmless(str(failed))) from None
    if isinstance(came, str):
        return bare(came), ()
    return bare(came.content), [(file.name, file.data) for file in came.files]


async def _ask(
    where: Home, url: str, capability: str, words: str, details: Mapping[str, str], given: Mapping[str, str]
) -> Came:
    """What came of it. Raises `Failed`."""
    import secrets

    from adapters.nats.fleet import Fleet, Fulfilled, Wish
    from factory_cli import keeping, membership
    from factory_contracts.capability import CapabilityProgress, CapabilityRefused
    from factory_nats.connect import connect
    from factory_nats.result import Err

    def hear(progress: CapabilityProgress) -> None:
        share = "" if progress.share is None else f"{100 * progress.share:.0f} % "
        typer.echo(f"factory: {share}{harmless(progress.words)}", err=True)

    identity = membership.identity(where, keeping.known(where), subjects.ASKER)
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
            words = harmless(came.words) or f"the worker for {capability} gives no reason"
            raise Failed(f"{words}{_whereabouts(where, capability) if came.reason == 'failed' else ''}")
        case Err():
            raise Failed(f"the workers for {capability} cannot be asked: {came.detail}")


def _whereabouts(where: Home, capability: str) -> str:
    """Where it stands why a worker failed, which it tells nobody who asks."""
    from factory_cli.services import SERVICES

    ours = next((one.name for one in SERVICES.values() if capability in one.capabilities), None)
    return " Its log says why" + (f": {where.log / ours}.log" if ours is not None else "")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}") from None


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
        try:
            out.write_bytes(data)
        except OSError as error:
            raise Failed(f"{out} cannot be written: {error.strerror}") from None
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
