"""Who is connected: an inbox to which the server finds nobody listening is that of a connection that has ended."""

from factory_nats.result import Err
from factory_nats.transport import Transport

# The server itself says at once that nobody listens; whoever does listen says nothing.
PATIENCE = 0.05


class NatsPresence:
    """Asks the server by sending nothing to an inbox."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def has_gone(self, inbox: str) -> bool:
        """Whether whoever is answered there is certainly not connected now."""
        answer = await self._transport.request(inbox, b"", timeout=PATIENCE)
        return isinstance(answer, Err) and answer.reason == "no responders"
