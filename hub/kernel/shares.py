"""Which hub is to reign over which partitions: the same to everybody who knows of the same hubs."""

from collections.abc import Iterable
from hashlib import sha256


def share(hubs: Iterable[str], partitions: int) -> dict[str, frozenset[int]]:
    """Every hub's partitions, as many as any other's or one more; few change hands when one comes or goes."""
    names = sorted(set(hubs))
    if not names:
        return {}
    each, over = divmod(partitions, len(names))
    room = {name: each + (place < over) for place, name in enumerate(names)}
    shares: dict[str, set[int]] = {name: set() for name in names}
    for part in range(partitions):
        liking = sorted((name for name in names if room[name]), key=lambda name: _liking(name, part))
        room[liking[0]] -= 1
        shares[liking[0]].add(part)
    return {name: frozenset(parts) for name, parts in shares.items()}


def _liking(name: str, part: int) -> bytes:
    return sha256(f"{name} {part}".encode()).digest()
