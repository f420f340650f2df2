"""A worker's file: what it declares, found by what it can do and not by what it is made of."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from factory_nats.satellite import Errand, Served

E = TypeVar("E", bound=Errand)


class NoWorker(Exception):
    """The file declares no worker, or more than one; the sentence says which."""


@runtime_checkable
class Named(Served[E], Protocol[E]):
    """What a worker does, and the capability that it does it for."""

    @property
    def name(self) -> str:
        """The capability."""
        ...


def load(path: Path) -> Named[Errand]:
    """What the file declares. Raises `NoWorker`, and whatever the file raises when it is run."""
    # Under a name of its own, for a worker may well be called like something that others import.
    spec = spec_from_file_location(f"worker_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise NoWorker(f"{path} is no file of Python")
    module = module_from_spec(spec)
    # Its types are looked up by the module's name, and what stands beside it may be imported.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent.absolute()))
    spec.loader.exec_module(module)
    found = {id(value): value for value in vars(module).values() if isinstance(value, Named)}
    if not found:
        raise NoWorker(f'{path} declares no worker: put @capability("...") before a function')
    if len(found) > 1:
        names = ", ".join(sorted(one.name for one in found.values()))
        raise NoWorker(f"{path} declares {names}; a worker serves one capability, so make a file of each")
    return next(iter(found.values()))
