"""Sound as messengers play it for a voice: Opus in an Ogg file."""

from importlib import import_module
from io import BytesIO

NAME, MIME = "voice.ogg", "audio/ogg"
# What Opus knows; from anything else it is brought to the highest.
_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
# Sound takes much room while it is worked on, and some of it goes on for an hour.
_SECONDS = 10


class NoSound(Exception):
    """There is nothing that could be heard; the sentence is for the log."""


def is_opus(sound: bytes) -> bool:
    """Whether it is that already."""
    return sound.startswith(b"OggS") and b"OpusHead" in sound[:64]


class Encoder:
    """Encodes by libsndfile. Raises `ImportError` where that is not installed."""

    def __init__(self) -> None:
        self._soundfile = import_module("soundfile")
        self._numpy = import_module("numpy")

    def encode(self, sound: bytes) -> bytes:
        """The same sound, in one channel. Raises `NoSound`."""
        encoded = BytesIO()
        try:
            with self._soundfile.SoundFile(BytesIO(sound)) as source:
                rate = source.samplerate if source.samplerate in _RATES else _RATES[-1]
                if not source.frames:
                    raise NoSound("a file without any sound in it")
                with self._soundfile.SoundFile(encoded, "w", rate, 1, "OPUS", format="OGG") as target:
                    for piece in source.blocks(source.samplerate * _SECONDS, dtype="float32", always_2d=True):
                        target.write(self._at(rate, piece.mean(axis=1), source.samplerate))
        except self._soundfile.LibsndfileError as error:
            raise NoSound(f"{len(sound)} bytes that are no sound which can be read: {error}") from None
        return encoded.getvalue()

    def _at(self, rate: int, piece: object, own: int) -> object:
        """The piece with as many samples a second as are wanted."""
        numpy = self._numpy
        count = len(numpy.asarray(piece))
        if rate == own:
            return piece
        return numpy.interp(numpy.arange(count * rate // own) * (own / rate), numpy.arange(count), piece)
