"""What a process lets out of itself: nothing that it knows, however it ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from factory_cli import config
from factory_cli.document import BadConfiguration

CANARY = "canary-0451-sings-no-more"
LOOKS = "sk-ant-api03-whoever-sees-this-owns-it"
BEGIN = """
import asyncio, logging, sys, threading, warnings
from factory_cli import privacy
from hub.kernel.secrecy import Redactor
privacy.seal()
privacy.report("DEBUG", Redactor.of([sys.argv[1]]).redact)
logger = logging.getLogger("somebody.elses")
error = RuntimeError(f"no {sys.argv[1]} at https://api.telegram.org/bot123456789:{'A' * 35}/getMe")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A process that begins as ours do, and then does this."""
    done = subprocess.run([sys.executable, "-P", "-c", BEGIN + program, CANARY], capture_output=True, text=True)
    assert CANARY not in done.stdout + done.stderr
    assert "A" * 35 not in done.stderr
    return done


THREAD = """
def fail(): raise error
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
DESTRUCTOR = """
class Fragile:
    def __del__(self): raise error
Fragile()
"""
TASK = """
async def fail(): raise error
async def forget():
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
asyncio.run(forget())
"""
CALLBACK = """
async def call():
    asyncio.get_running_loop().call_soon(lambda argument: 1 / 0, sys.argv[1])
    await asyncio.sleep(0)
# Newer ones tell what a callback was given only to who looks for a defect.
asyncio.run(call(), debug=True)
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("logger.info('is it %s?', sys.argv[1])", "INFO somebody.elses: is it [secret]?"),
        ("logger.debug(error)", "DEBUG somebody.elses: no [secret] at https://api.telegram.org/bot[secret]/getMe"),
        ("logger.error('broken', exc_info=error)", "RuntimeError: no [secret] at"),
        ("logger.error('bad', exc_info=ExceptionGroup('all', [error]))", "RuntimeError: no [secret] at"),
        ("logger.info('%d', sys.argv[1])", "somebody.elses:9 cannot be logged:"),
        ("warnings.warn(sys.argv[1])", "UserWarning: [secret]"),
        ("raise error", "RuntimeError: no [secret] at"),
        ("raise ValueError(sys.argv[1]) from error", "ValueError: [secret]"),
        (THREAD, "RuntimeError: no [secret] at"),
        (DESTRUCTOR, "Exception ignored in"),
        (TASK, "Task exception was never retrieved"),
        (CALLBACK, "'[secret]')"),
    ],
)
def test_whatever_speaks_says_no_secret(program: str, said: str) -> None:
    assert said in run(program).stderr


def test_who_reports_again_knows_more_and_says_everything_once() -> None:
    word = "another-word-to-keep"
    again = f"privacy.report('INFO', Redactor.of(['{word}']).redact)\n"

    done = run(again + f"logger.info('{word}')\nlogger.debug('too fine')")

    assert done.stderr.endswith("INFO somebody.elses: [secret]\n")
    assert done.stderr.count("\n") == 1


REFUSING = """
privacy.report(LEVEL, Redactor.of([sys.argv[1]]).redact)
for reason in 1000 * ["too fast"] + ["blocked"]:
    logger.info("%s is refused: %s", sys.argv[1], reason)
later = privacy.time.monotonic() + 60
privacy.time.monotonic = lambda: later
logger.info("a minute later")
"""


def test_what_strangers_can_have_written_is_counted_and_every_reason_said() -> None:
    lines = run(REFUSING.replace("LEVEL", "'INFO'")).stderr.splitlines()

    assert [line.partition(" INFO ")[2] for line in lines] == [
        *5 * ["somebody.elses: [secret] is refused: too fast"],
        "somebody.elses: [secret] is refused: blocked",
        "factory_cli.privacy: left out 995 times: [secret] is refused: too fast",
        "somebody.elses: a minute later",
    ]


def test_who_looks_closer_is_shown_all() -> None:
    assert run(REFUSING.replace("LEVEL", "'DEBUG'")).stderr.count(" is refused: ") == 1001


def test_the_end_of_a_thread_and_a_stop_are_no_errors() -> None:
    done = run("thread = threading.Thread(target=sys.exit)\nthread.start()\nthread.join()\nsys.exit(3)")

    assert (done.returncode, done.stderr) == (3, "")


def asked(*questions: str) -> list[str]:
    """What a process that begins as ours do answers, and what a child of it."""
    program = f"import os, resource, ctypes; print({', '.join(questions)})"
    return run(f"{program}\nsys.stdout.flush(); os.execl(sys.executable, 'python', '-c', {program!r})").stdout.split()


def test_a_process_and_its_children_leave_no_core_and_keep_their_files_to_themselves() -> None:
    questions = ("*resource.getrlimit(resource.RLIMIT_CORE)", "oct(os.umask(0o077))")

    assert asked(*questions) == 2 * ["0", "0", "0o77"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own word for it")
def test_nobody_else_may_look_into_a_process_but_into_what_it_starts() -> None:
    assert asked("ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)") == ["0", "1"]


@pytest.mark.parametrize(
    "command",
    ["chat -p hello", "up", "init telegram", "turns ls", "hub", "worker clipool", "adapter telegram", "nats start"],
)
def test_no_command_says_a_secret_where_it_fails(tmp_path: Path, command: str) -> None:
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANTHROPIC_API_KEY": CANARY}
    # A name that cannot be a folder, and that an error of the system repeats.
    variables |= {"FACTORY_HOME": f"/dev/null/{CANARY}/{LOOKS}"}

    done = subprocess.run(
        [sys.executable, "-P", "-m", "factory_cli", *command.split()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=variables,
    )

    assert done.returncode != 0
    assert CANARY not in done.stderr
    assert not re.search(r"sk-ant-\w", done.stderr)


@pytest.mark.parametrize(("level", "is_fine"), [("debug", True), ("WARNING", True), ("chatty", False)])
def test_how_much_is_logged_is_said_in_the_environment(tmp_path: Path, level: str, is_fine: bool) -> None:
    if is_fine:
        assert config.environment({"FACTORY_LOG_LEVEL": level}, tmp_path).log_level == level.upper()
    else:
        with pytest.raises(BadConfiguration, match="FACTORY_LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR"):
            config.environment({"FACTORY_LOG_LEVEL": level}, tmp_path)
