"""`python -m workers.voice.espeak`: espeak-ng out of a wheel, asked in the way of the program of that name.

It is a process of its own: what the library breaks ends nobody else.
"""

import argparse
import ctypes
import sys
import wave
from importlib import import_module

# What the library's header calls espeakCHARS_UTF8, AUDIO_OUTPUT_RETRIEVAL and espeakINITIALIZE_DONT_EXIT.
UTF8, RETRIEVAL, DONT_EXIT = 1, 1, 0x8000
SAMPLE_BYTES = 2

_Hear = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def said(words: bytes, voice: str) -> tuple[int, bytes]:
    """The words as samples, and how many of them there are a second. Raises `ImportError` and `OSError`."""
    wheel = import_module("espeakng_loader")
    library = ctypes.CDLL(wheel.get_library_path())
    rate = library.espeak_Initialize(RETRIEVAL, 0, str(wheel.get_data_path()).encode(), DONT_EXIT)
    if rate <= 0:
        raise OSError("the library cannot be used")
    if library.espeak_SetVoiceByName(voice.encode()):
        raise OSError(f"there is no voice {voice!r}")
    sound = bytearray()

    def hear(samples: int | None, count: int, events: int | None) -> int:
        if samples:
            sound.extend(ctypes.string_at(samples, count * SAMPLE_BYTES))
        return 0

    # The library keeps no reference of its own.
    listener = _Hear(hear)
    library.espeak_SetSynthCallback(listener)
    library.espeak_Synth(words, len(words) + 1, 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    return rate, bytes(sound)


def main() -> int:
    """Say what stands on standard input into a file; the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stdin", action="store_true", required=True)
    parser.add_argument("-v", dest="voice", default="en")
    parser.add_argument("-w", dest="out", required=True)
    chosen = parser.parse_args()
    try:
        rate, sound = said(sys.stdin.buffer.read(), chosen.voice)
    except (ImportError, OSError) as error:
        print(f"espeak: {error}", file=sys.stderr)
        return 1
    with wave.open(chosen.out, "wb") as file:
        file.setparams((1, SAMPLE_BYTES, rate, 0, "NONE", ""))
        file.writeframes(sound)
    return 0


if __name__ == "__main__":
    sys.exit(main())
