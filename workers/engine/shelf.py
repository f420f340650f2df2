"""Where engines are found: files of Python in one folder, each named like the engine that stands in it."""

import asyncio
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from factory_contracts.engine import Engine

VERSION_LENGTH = 12


class BadEngine(Exception):
    """The file holds no engine that could run; the sentence names the file and says why."""


class Shelf:
    """A folder of engines, each read when it is asked for: what is put there later is found as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Engine] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The engines that there are, in order."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.py")))

    async def find(self, name: str) -> Engine | None:
        """The engine as it stands there now, or None. Raises `BadEngine`."""
        # A module may take a while to load whatever it imports.
        return await asyncio.to_thread(self._find, name)

    def _find(self, name: str) -> Engine | None:
        path = self._folder / f"{name}.py"
        if not path.is_file():
            return None
        known = self._loaded.get(name)
        if known is None or known.version != version(path.read_bytes()):
            known = self._loaded[name] = load(path)
        return known


def version(content: bytes) -> str:
    """What the content of an engine's file is known by."""
    return sha256(content).hexdigest()[:VERSION_LENGTH]


def load(path: Path) -> Engine:
    """The engine of a file, which is run. Raises `BadEngine`."""
    content = path.read_bytes()
    # Under a name of its own, for an engine may well be called like something that others import.
    module = ModuleType(f"engine_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, LookupError) as error:
        raise BadEngine(f"{path}: {type(error).__name__}: {error}") from error
    except SystemExit as error:
        # Somebody else's file must not end this process.
        raise BadEngine(f"{path}: it exits") from error
    found = {id(value): value for value in vars(module).values() if isinstance(value, Engine)}
    if len(found) != 1:
        raise BadEngine(f"{path}: a file holds one engine, and this one has {len(found)}")
    (engine,) = found.values()
    if engine.name != path.stem:
        raise BadEngine(f"{path}: engine {engine.name!r} is found in a file {engine.name}.py")
    return replace(engine, version=version(content))
