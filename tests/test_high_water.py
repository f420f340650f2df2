"""How far the log goes is noted whole or not at all, and what a death left of a note is swept away."""

import os
import time
from pathlib import Path

from adapters.high_water import LEFT, FileHighWater


async def test_what_a_process_that_died_over_its_note_left_is_swept_when_another_begins(tmp_path: Path) -> None:
    left, others = tmp_path / ".high-water.json.4711", tmp_path / ".high-water.json.4712"
    for file in (left, others):
        file.write_text("{")
    os.utime(left, (time.time() - LEFT - 1,) * 2)

    assert await FileHighWater(tmp_path / "high-water.json").read() is None

    assert not left.exists()
    assert others.exists(), "somebody may be writing it"
