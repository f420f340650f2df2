"""Sound as messengers play it for a voice: Opus in an Ogg file."""

from importlib import import_module
from io import BytesIO

NAME, MIME = "voice.ogg", "audio/ogg"
# What Opus knows; from anything else it is brought to the highest.
_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


def is_opus(sound: bytes) -> bool:
    """Whether it is that already."""
    return sound.startswith(b"OggS") and b"OpusHead" in sound[:64]


class Encoder:
    """Encodes by libsndfile. Raises `ImportError` where that is not installed."""

    def __init__(self) -> None:
        self._soundfile = import_module("soundfile")
        self._numpy = import_module("numpy")

    def encode(self, sound: bytes) -> bytes:
        """The same sound, in one channel; as it was where nobody knows how to read it."""
        try:
            frames, rate = self._soundfile.read(BytesIO(sound), dtype="float32", always_2d=True)
        except self._soundfile.LibsndfileError:
            return sound
        voice = frames.mean(axis=1)
        if rate not in _RATES:
            length = len(voice) * _RATES[-1] // rate
            voice = self._numpy.interp(
                self._numpy.arange(length) * (rate / _RATES[-1]), self._numpy.arange(len(voice)), voice
            )
            rate = _RATES[-1]
        encoded = BytesIO()
        self._soundfile.write(encoded, voice, rate, format="OGG", subtype="OPUS")
        return encoded.getvalue()
