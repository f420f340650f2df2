"""The composition root of the image worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

from factory_contracts.worker import Errand
from factory_nats import process
from factory_nats.identity import Identity
from factory_nats.satellite import Served
from workers.endpoint import Endpoint
from workers.image.painting import SECONDS, painting
from workers.image.settings import CARD, CHART, IMAGE, QR, Painter
from workers.posts import Post, serve


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What the image worker is told; without a painter it draws codes, cards and charts."""

    nats_url: str
    painter: Painter | None = None
    identities: Mapping[str, Identity] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: float = 30.0


def run(settings: ImageSettings) -> int:
    """Work until SIGTERM or SIGINT; the exit code. Raises `ImportError` where what draws is not installed."""
    served = compose(settings)
    posts = [Post(settings.identities[name], one) for name, one in served.items()]
    return process.run(serve(settings.nats_url, posts, patience=settings.patience))


def compose(settings: ImageSettings) -> Mapping[str, Served[Errand]]:
    """What these settings ask for, by capability. Raises `ImportError` where what draws is not installed."""
    found: dict[str, Served[Errand]] = {
        QR: import_module("workers.image.code").draw_code,
        CARD: import_module("workers.image.card").draw_card,
        CHART: import_module("workers.image.chart").draw_chart,
    }
    painter = settings.painter
    if painter is not None:
        endpoint = Endpoint(painter.base_url, settings.variables.get(painter.key, ""), SECONDS)
        found[IMAGE] = painting(painter, endpoint)
    return found
