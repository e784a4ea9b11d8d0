"""The recorded window on X11: whose it is, whether keys and clicks come to it, and what takes its place when it ends.

What belongs to it is asked of `desktop.x11_reach`, as the executor asks before it presses: menus and dialogs of its own
program do, another program's notification over it does not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from Xlib import X
from Xlib import error as xlib_error

from vlm_agent.desktop.types import WindowInfo
from vlm_agent.desktop.x11 import X11Desktop
from vlm_agent.desktop.x11_clients import X11Clients
from vlm_agent.desktop.x11_reach import KeyboardState, X11Reach
from vlm_agent.errors import ConfigError
from vlm_agent.recording.stream import Focus

_NEXT_WITHIN_S = 2.0
"""How long a program may take to make its window anew: to go full screen, say."""


class RecordedWindow:
    """Answers on the connection of a desktop, in one thread."""

    def __init__(self, desktop: X11Desktop, watcher: Any, window_id: int) -> None:
        """Take the window.

        Args:
            desktop: asks; it stays the caller's.
            watcher: the connection whose events XRecord tells.
            window_id: the window.

        Raises:
            ConfigError: the server does not let us hear who grabs keyboard and pointer.
        """
        self.window_id = window_id
        self.parent_id = 0
        """The root, or a window manager's frame."""
        self._watcher = watcher
        self._is_asked = False
        """Whether the keyboard goes to a menu or a dialog of it, of which its own events tell nothing."""
        self._desktop = desktop
        self._clients = X11Clients(desktop.display)
        self._reach = X11Reach(desktop, lambda: None)
        self._last: WindowInfo | None = None
        self._ended_s: float | None = None
        self.describe()

    def describe(self) -> WindowInfo | None:
        """Return how it is now; None where it is closed or hidden."""
        found = self._desktop.describe(self.window_id)
        # Titles change in play; what it was called last is what its successor is called.
        self._last = found or self._last
        return found

    def watch(self) -> None:
        """Have the server tell the watcher what becomes of it.

        Raises:
            ConfigError: it is closed.
        """
        window = self._watcher.create_resource_object("window", self.window_id)
        try:
            watched = X.StructureNotifyMask | X.FocusChangeMask
            window.change_attributes(event_mask=watched, onerror=xlib_error.CatchError())
            # Who has the keyboard where no window has it is told to the root alone.
            self._watcher.screen().root.change_attributes(event_mask=X.FocusChangeMask)
            self.parent_id = window.query_tree().parent.id
        except xlib_error.BadWindow as error:
            raise ConfigError("the window was closed before the recording began") from error

    def find_focus(self) -> Focus:
        """Return where keys go now."""
        if self._watcher.get_input_focus().focus == X.PointerRoot:
            return "pointer"
        keyboard = self._find_keyboard()
        if keyboard.is_own_grab is None and keyboard.focused_id is not None and self._is_within(keyboard.focused_id):
            return "inside"
        return self._ask_others(is_grab=True)

    def follow_focus(self, told: Focus, *, is_grab: bool) -> Focus:
        """Return where keys go when the window was told that: those it loses may go to its own menu or dialog.

        Args:
            told: what the event says by itself.
            is_grab: whether it says so because somebody has grabbed the keyboard.
        """
        self._is_asked = False
        return self._ask_others(is_grab=is_grab) if told == "outside" else told

    def has_lost_keys(self) -> bool:
        """Return whether its menu or dialog, which had the keyboard, has not any more; menus end without a word."""
        if not self._is_asked:
            return False
        focused_id, is_own_grab, _ = self._find_keyboard()
        has_focus = focused_id is not None and self._is_part(focused_id)
        self._is_asked = has_focus if is_own_grab is None else is_own_grab
        return not self._is_asked

    def takes_click(self, x: int, y: int) -> bool:
        """Return whether a press at a point of the screen comes to it."""
        with _unless_gone():
            return self._reach.takes_click(self.window_id, (x, y))
        return False

    @property
    def has_ended(self) -> bool:
        """Whether it was closed and nothing has taken its place yet."""
        return self._ended_s is not None

    def end(self) -> None:
        """Note that it was closed."""
        # A window without a class has no other that is surely its successor.
        has_class = self._last is not None and bool(self._last.app)
        self._ended_s = time.monotonic() if has_class else -math.inf

    def find_next(self) -> WindowInfo | None:
        """Return the window that has taken its place and make it the recorded one; None where there is none (yet).

        It is one of the same program, class and title, and the only one.
        """
        same = [one for one in self._list_siblings() if self._last and one.title == self._last.title]
        if len(same) != 1:
            return None
        before, self.window_id = self.window_id, same[0].window_id
        try:
            self.watch()
        except ConfigError:  # it is gone already
            self.window_id = before
            return None
        self._ended_s, self._last = None, same[0]
        return same[0]

    @property
    def is_over(self) -> bool:
        """Whether it was closed for so long that nothing will take its place."""
        return self._ended_s is not None and time.monotonic() - self._ended_s > _NEXT_WITHIN_S

    def explain_end(self) -> str:
        """Return why the recording is over, and what to do."""
        titles = sorted({one.title for one in self._list_siblings() if one.title})
        if not titles:
            return "the window was closed"
        named = ", ".join(repr(title) for title in titles)
        return f"the window was closed; its program still has {named}: record that with --window"

    def close(self) -> None:
        """Ask no more; harmless the second time."""
        self._reach.close()

    def _ask_others(self, *, is_grab: bool) -> Focus:
        """Return whether a menu or a dialog of the window has the keyboard: not whether the window has it back by now.

        That is told in its own time, and keys that were typed elsewhere until then are before it.
        """
        focused_id, is_own_grab, was_own_grab = self._find_keyboard()
        if is_own_grab is not None:
            self._is_asked = is_grab and is_own_grab
        elif is_grab and was_own_grab and focused_id is not None and self._is_within(focused_id):
            # It is over by now; what was typed into the menu meanwhile is still to be heard, and then of its end.
            self._is_asked = True
        elif focused_id is not None and self._is_part(focused_id) and not self._is_within(focused_id):
            with _unless_gone():
                dialog = self._watcher.create_resource_object("window", focused_id)
                dialog.change_attributes(event_mask=X.FocusChangeMask, onerror=xlib_error.CatchError())
                self._watcher.sync()
            # It may have lost it before it was listened to; from now on it tells.
            self._is_asked = self._find_keyboard()[:2] == (focused_id, None)
        return "inside" if self._is_asked else "outside"

    def _find_keyboard(self) -> KeyboardState:
        with _unless_gone():
            return self._reach.find_keyboard(self.window_id)
        return KeyboardState()

    def _is_part(self, window_id: int) -> bool:
        with _unless_gone():
            return self._clients.is_part_of(window_id, self.window_id)
        return False

    def _is_within(self, window_id: int) -> bool:
        return self.window_id in self._clients.list_ancestors(window_id)

    def _list_siblings(self) -> list[WindowInfo]:
        last = self._last
        if last is None or not last.app:
            return []
        client = self._clients.find_client(last.window_id)
        return [
            one
            for one in self._desktop.list_windows()
            if one.app == last.app
            and one.window_id != last.window_id
            and (self._clients.find_client(one.window_id) == client or (one.pid is not None and one.pid == last.pid))
            and not self._clients.is_pop_up(one.window_id)
        ]


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    with contextlib.suppress(xlib_error.BadWindow, xlib_error.BadDrawable, xlib_error.BadMatch):
        yield
