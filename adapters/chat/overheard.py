"""What a group said that was not for the bot: the last of it, kept until an answer needs it."""

from collections import OrderedDict, deque

MAX_LINES = 30
MAX_CHARACTERS = 8_000
MAX_SCOPES = 1_000

_HEAD = "[said here before, not to you:"
_TAIL = "]"
_ROOM = MAX_CHARACTERS - len(_HEAD) - len(_TAIL)


class Overheard:
    """The last lines of each scope: a bounded memory that ends with the process."""

    def __init__(self) -> None:
        self._scopes: OrderedDict[str, deque[str]] = OrderedDict()

    def hear(self, scope: str, name: str, text: str) -> None:
        """Keep what somebody said, as one line: nobody can put words in another's mouth by a new one."""
        said = " / ".join(filter(None, map(str.strip, text.splitlines())))
        if not said:
            return
        lines = self._scopes.setdefault(scope, deque(maxlen=MAX_LINES))
        self._scopes.move_to_end(scope)
        lines.append(f"{name}: {said}"[: _ROOM - 1])
        while sum(len(line) + 1 for line in lines) > _ROOM:
            lines.popleft()
        if len(self._scopes) > MAX_SCOPES:
            self._scopes.popitem(last=False)

    def take(self, scope: str) -> str:
        """What was said since the last time, as one block, which is then forgotten; empty where nothing was."""
        lines = self._scopes.pop(scope, None)
        return "" if lines is None else "\n".join((_HEAD, *lines)) + _TAIL

    def forget(self, scope: str) -> None:
        """Keep nothing of this scope."""
        self._scopes.pop(scope, None)
