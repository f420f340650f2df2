"""A voice that is computed: a few words of English from their formants, plain enough for a recogniser.

Nothing that speaks is installed where tests run, and nobody's recorded voice need lie in a repository.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 16_000
Track = NDArray[np.float64]

# The first three formants in Hz at the beginning and at the end of each sound.
_VOICED: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    "AY": ((750, 1250, 2500), (350, 2100, 2700)),
    "EH": ((550, 1800, 2500), (550, 1800, 2500)),
    "EY": ((480, 1900, 2600), (300, 2250, 2900)),
    "N": ((280, 1600, 2500), (280, 1600, 2500)),
    "OW": ((500, 1000, 2300), (350, 800, 2300)),
    "W": ((300, 650, 2200), (300, 650, 2200)),
    "Y": ((280, 2200, 2900), (280, 2200, 2900)),
}
_SOFT = frozenset(("N", "W", "Y"))
_BREATH = (300, 1700, 2500)
_BANDS = (80.0, 100.0, 140.0)
_GLIDE = int(0.04 * RATE)

# Each word by its sounds and their length in ms; silence is `-`, a hiss is `S`.
WORDS: Mapping[str, Sequence[tuple[str, int]]] = {
    "yes": (("Y", 70), ("EH", 170), ("S", 180)),
    "no": (("N", 100), ("OW", 280)),
    "why": (("W", 90), ("AY", 320)),
    "no way": (("N", 100), ("OW", 220), ("W", 80), ("EY", 260)),
}


def say(word: str) -> Track:
    """The word, between two silences, as samples from -1 to 1."""
    chance = np.random.default_rng(1)
    sounds = (("-", 200), *WORDS[word], ("-", 250))
    lengths = [RATE * ms // 1000 for _, ms in sounds]
    formants, voice, hiss = [], [], []
    for (sound, _), length in zip(sounds, lengths, strict=True):
        begin, end = _VOICED.get(sound, (_BREATH, _BREATH))
        formants.append(np.linspace(begin, end, length))
        voice.append(np.full(length, 0.0 if sound in "-S" else 0.45 if sound in _SOFT else 1.0))
        hiss.append(np.full(length, float(sound == "S")))
    track = np.stack([_glide(one) for one in np.concatenate(formants).T], axis=1)
    loud, breath = _glide(np.concatenate(voice)), _glide(np.concatenate(hiss))
    voiced = _resonate(_glottis(len(loud)) * loud, track)
    noise = np.diff(np.diff(chance.standard_normal(len(loud)), prepend=0), prepend=0)
    sound = voiced / np.abs(voiced).max() + breath * noise * 0.05 + chance.standard_normal(len(loud)) * 0.0005
    return np.asarray(sound / np.abs(sound).max() * 0.6)


def note(word: str) -> bytes:
    """The word as a messenger records it: Opus in Ogg."""
    file = BytesIO()
    import_module("soundfile").write(file, say(word), RATE, format="OGG", subtype="OPUS")
    return file.getvalue()


def _glottis(length: int) -> Track:
    """Pulses of a voice that falls a little, as they leave the throat."""
    phase = np.cumsum((130 - 30 * np.linspace(0, 1, length)) / RATE)
    pulses = np.diff(np.floor(phase), prepend=0) > 0
    source, held = np.zeros(length), 0.0
    for at in range(length):
        held = float(pulses[at]) + 0.95 * held
        source[at] = held
    return np.diff(source, prepend=0)


def _resonate(source: Track, formants: Track) -> Track:
    """What a throat of these formants makes of it."""
    sound: list[float] = source.tolist()
    for order, band in enumerate(_BANDS):
        radius = math.exp(-math.pi * band / RATE)
        back = -radius * radius
        turns: list[float] = (2 * radius * np.cos(2 * np.pi * formants[:, order] / RATE)).tolist()
        before = earlier = 0.0
        for at, turn in enumerate(turns):
            value = (1 - turn - back) * sound[at] + turn * before + back * earlier
            sound[at] = value
            before, earlier = value, before
    return np.array(sound)


def _glide(track: Track) -> Track:
    """The same without steps, for no mouth jumps."""
    window = np.hanning(_GLIDE)
    padded = np.pad(track, (_GLIDE // 2, _GLIDE - 1 - _GLIDE // 2), mode="edge")
    return np.convolve(padded, window / window.sum(), "valid")


def _pocketsphinx() -> Any:
    if sys.version_info >= (3, 14):
        pytest.skip("pocketsphinx has no wheel for this Python yet, and nobody else listens here")
    return import_module("pocketsphinx")


class Recogniser:
    """pocketsphinx with a grammar of the words, and of nothing else."""

    def __init__(self) -> None:
        self._decoder = _pocketsphinx().Decoder(samprate=RATE, loglevel="FATAL", lm=None)
        grammar = f"#JSGF V1.0; grammar words; public <word> = {' | '.join(WORDS)};"
        self._decoder.add_jsgf_string("words", grammar)
        self._decoder.activate_search("words")

    def hear(self, sound: bytes) -> str:
        """What is said in a file of sound."""
        frames, rate = import_module("soundfile").read(BytesIO(sound))
        track = np.interp(np.arange(len(frames) * RATE // rate) * rate / RATE, np.arange(len(frames)), frames)
        # Whoever begins and ends at once is taken for noise.
        silence = np.zeros(RATE // 4)
        heard = np.concatenate((silence, track, silence)) * 32767
        self._decoder.start_utt()
        self._decoder.process_raw(heard.astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return str(found.hypstr) if found else ""
