"""The screen below what was said: a live area that is drawn over, and the prompt, usable at any time.

What is printed goes above them once and scrolls away. Taking them off, printing and drawing them again is one write,
so nothing flickers, and nothing depends on where the terminal says its cursor is.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, has_focus, is_searching
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, Dimension, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Attrs
from prompt_toolkit.widgets import SearchToolbar

from adapters.cli import typed
from adapters.cli.conversation import INTERRUPTED

AGAIN_WITHIN = 2.0
# Keys that follow faster belong to the line that is being typed, whatever is asked meanwhile.
PAUSE = 0.7
_PROMPT = "> "
_DECIDE = "y/n> "
_DECIDING = "y allows it, n denies it"
# Synchronized output: a terminal that knows it draws nothing in between, any other passes over it.
_FRAME_BEGINS = "\x1b[?2026h"
_FRAME_ENDS = "\x1b[?2026l"

# Columns and rows that the live area may take -> its lines.
Live = Callable[[int, int], Sequence[str]]


class _Output(Vt100_Output):
    """The terminal, which can be made to wait until a whole frame is there."""

    def __init__(self, stdout: TextIO, *, use_color: bool) -> None:
        super().__init__(stdout, self._measure, enable_cpr=False)
        self._use_color = use_color
        self._is_held = False
        self._is_framed = False

    def hold(self) -> None:
        """Write nothing until `release`: what comes is one frame."""
        self._is_held = True
        if not self._is_framed:
            self._is_framed = True
            self.write_raw(_FRAME_BEGINS)

    def release(self) -> None:
        """From the next flush on, write again."""
        self._is_held = False

    def flush(self) -> None:
        """Write what has gathered, unless it is held."""
        if self._is_held:
            return
        if self._is_framed:
            self._is_framed = False
            self.write_raw(_FRAME_ENDS)
        super().flush()

    def erase_down(self) -> None:
        """Clear what is below. tmux takes a clear from its first cell for a new page and keeps the old one."""
        self.write_raw("\x1b7\x1b[K\x1b[C\x1b[J\x1b8")

    def set_attributes(self, attrs: Attrs, color_depth: ColorDepth) -> None:
        """Colour and weight, where they are wanted."""
        if self._use_color:
            super().set_attributes(attrs, color_depth)

    def reset_attributes(self) -> None:
        """Back to plain text."""
        if self._use_color:
            super().reset_attributes()

    def _measure(self) -> Size:
        try:
            columns, rows = os.get_terminal_size(self.stdout.fileno())
        except OSError:
            columns, rows = 0, 0
        # Some terminals say 0 when they do not know.
        return Size(rows=rows or 24, columns=columns or 80)


class _Words(Completer):
    """What Tab makes of a line, as a function tells."""

    def __init__(self, complete: Callable[[str], Iterable[str]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Whole lines in place of the one begun."""
        line = document.text_before_cursor
        return [Completion(whole, start_position=-len(line)) for whole in self._complete(line)]


class _History(FileHistory):
    """What was typed before, each line with the session it was typed in."""

    def __init__(self, file: Path, scope: Callable[[], str]) -> None:
        super().__init__(str(file))
        self._file = file
        self._scope = scope

    def store_string(self, string: str) -> None:
        """Note what was typed now."""
        typed.add(self._file, string, self._scope(), datetime.now())


class Surface:
    """The prompt and what stands right above it.

    `scope` tells the session that is typed in; `on_line` takes a line and says whether it may leave the prompt;
    `on_interrupt` stops what runs and says whether anything did; `on_answer` takes the y or n of who was asked;
    `complete` tells which lines Tab offers; `hint` is one line below the prompt.
    """

    def __init__(
        self,
        stdout: TextIO,
        *,
        history_file: Path,
        scope: Callable[[], str],
        use_color: bool,
        live: Live,
        on_line: Callable[[str], bool],
        on_interrupt: Callable[[], bool],
        on_answer: Callable[[bool], None],
        complete: Callable[[str], Iterable[str]],
        hint: Callable[[str], str],
    ) -> None:
        self._live = live
        self._lines: Sequence[str] = ()
        self._on_line = on_line
        self._on_interrupt = on_interrupt
        self._on_answer = on_answer
        self._hint = hint
        self._asking: asyncio.TimerHandle | None = None
        # What stood at the prompt when the question took it; None until then.
        self._before: str | None = None
        self._is_deciding = False
        self._armed_until = 0.0
        self._use_color = use_color
        self._output = _Output(stdout, use_color=use_color)
        history_file.parent.mkdir(parents=True, exist_ok=True)
        self._new_history: Callable[[], _History] = lambda: _History(history_file, scope)
        self._buffer = Buffer(
            multiline=True,
            history=self._new_history(),
            completer=_Words(complete),
            accept_handler=self._accept,
            on_text_changed=self._typed,
        )
        self._app: Application[int] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            output=self._output,
            color_depth=ColorDepth.DEPTH_4_BIT,
            editing_mode=EditingMode.EMACS,
            erase_when_done=True,
            min_redraw_interval=0.02,
            before_render=self._before_render,
        )

    @property
    def columns(self) -> int:
        """How wide the terminal is now."""
        return self._output.get_size().columns

    async def run(self) -> int:
        """Until the person leaves; the exit code."""
        loop = asyncio.get_running_loop()
        # A terminal left raw would be unusable for whatever comes next.
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.leave, INTERRUPTED)
        try:
            return await self._app.run_async()
        except EOFError:
            return 0
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
            self._output.release()
            self._output.flush()

    def leave(self, code: int) -> None:
        """End `run` with this exit code."""
        if self._app.is_running and self._app.future is not None and not self._app.future.done():
            self._app.exit(result=code)

    def print(self, text: str) -> None:
        """Put lines above the live area for good."""
        if not self._app.is_running:
            self._output.write_raw(f"{text}\n")
            self._output.flush()
            return
        self._output.hold()
        self._app.renderer.erase()
        self._output.write_raw(f"{text}\n")
        self._app.invalidate()

    def ask(self) -> None:
        """From the next pause in typing on, y and n decide at an empty prompt, or where nothing is typed on."""
        self._before = None
        self._wait()

    def ask_no_more(self) -> None:
        """Every key is a letter again."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        self._is_deciding = False
        self.refresh()

    def recall_anew(self) -> None:
        """Offer again what was typed before as far as it is kept still; what is being typed stays."""
        self._buffer.history = self._new_history()
        self._buffer.reset(self._buffer.document)

    def refresh(self) -> None:
        """Draw the live area again."""
        self._app.invalidate()

    def _wait(self) -> None:
        self.ask_no_more()
        self._asking = asyncio.get_running_loop().call_later(PAUSE, self._paused)

    def _paused(self) -> None:
        if self._before is None:
            self._before = self._buffer.text
        self._is_deciding = self._buffer.text in ("", self._before)
        self.refresh()

    def _typed(self, buffer: Buffer) -> None:
        if self._asking is not None:
            self._wait()

    def _decide(self, is_allowed: bool) -> None:
        self.ask_no_more()
        self._on_answer(is_allowed)

    def _before_render(self, app: Application[int]) -> None:
        size = self._output.get_size()
        below = min(self._buffer.document.line_count, size.rows // 2) + 2
        self._lines = self._live(size.columns, max(1, min(8, size.rows - below - 2)))
        self._output.release()

    def _layout(self) -> Layout:
        search = SearchToolbar()
        prompt = Window(
            BufferControl(self._buffer, search_buffer_control=search.control),
            get_line_prefix=self._line_prefix,
            wrap_lines=True,
            dont_extend_height=True,
            height=lambda: Dimension(min=1, max=max(1, self._output.get_size().rows // 2)),
        )
        above = Window(
            FormattedTextControl(lambda: ANSI("\n".join(self._lines))),
            height=lambda: Dimension(min=0, preferred=len(self._lines), max=len(self._lines)),
        )
        below = Window(
            FormattedTextControl(lambda: ANSI(self._below())),
            height=lambda: Dimension(min=0, preferred=1 if self._below() else 0, max=1 if self._below() else 0),
        )
        return Layout(HSplit([above, prompt, search, below]), focused_element=prompt)

    def _line_prefix(self, line: int, wrapped: int) -> AnyFormattedText:
        if line or wrapped:
            return "  "
        return [("bold ansiyellow", _DECIDE)] if self._is_deciding else [("bold ansicyan", _PROMPT)]

    def _below(self) -> str:
        text = _DECIDING if self._is_deciding else self._hint(self._buffer.text)
        if self._is_armed():
            text = "press Ctrl-C again to exit"
        return f"\x1b[2m{text}\x1b[0m" if text and self._use_color else text

    def _is_armed(self) -> bool:
        return self._app.loop is not None and self._app.loop.time() < self._armed_until

    def _accept(self, buffer: Buffer) -> bool:
        self._armed_until = 0.0
        return not self._on_line(buffer.text)

    def _interrupt(self) -> None:
        if self._is_armed():
            self.leave(INTERRUPTED)
            return
        if not self._on_interrupt() and self._buffer.text:
            self._buffer.reset()
            return
        loop = asyncio.get_running_loop()
        self._armed_until = loop.time() + AGAIN_WITHIN
        loop.call_later(AGAIN_WITHIN, self._app.invalidate)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        at_prompt = has_focus(self._buffer) & ~is_searching

        @keys.add("enter", filter=at_prompt)
        def enter(event: KeyPressEvent) -> None:
            buffer = self._buffer
            if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
                buffer.delete_before_cursor()
                buffer.insert_text("\n")
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter", filter=at_prompt)
        def newline(event: KeyPressEvent) -> None:
            self._buffer.insert_text("\n")

        for key, is_allowed in (("y", True), ("Y", True), ("n", False), ("N", False)):

            @keys.add(key, filter=at_prompt & Condition(lambda: self._is_deciding))
            def decide(event: KeyPressEvent, is_allowed: bool = is_allowed) -> None:
                self._decide(is_allowed)

        @keys.add("c-c", filter=~is_searching)
        @keys.add("<sigint>")
        def interrupt(event: KeyPressEvent) -> None:
            self._interrupt()

        @keys.add("c-d", filter=at_prompt & Condition(lambda: not self._buffer.text))
        def leave(event: KeyPressEvent) -> None:
            self.leave(0)

        return keys
