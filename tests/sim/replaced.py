"""Something of the product that is another for a while."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replaced(owner: object, name: str, by: object) -> Iterator[None]:
    """Until this ends, what the owner has under the name is what is given here."""
    was = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, was)
