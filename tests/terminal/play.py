"""`python -m tests.terminal.play SOCKET SETTINGS` is the terminal spoke as a process of its own."""

import asyncio
import fcntl
import json
import sys
import termios

from tests.terminal.actor import Settings, act

if __name__ == "__main__":
    if sys.stdin.isatty():
        # So that the keys and the size of the pseudo-terminal reach this process as those of a real one would.
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.exit(asyncio.run(act(sys.argv[1], Settings(**json.loads(sys.argv[2])))))
