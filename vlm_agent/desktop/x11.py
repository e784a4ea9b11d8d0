"""An X11 desktop: its windows, who has the keyboard, where the pointer is.

Works with a window manager (EWMH client list) and without one (bare Xvfb, where the root's children are the windows).
One connection is one thread's; recorder and executor open their own.
"""

from __future__ import annotations

import contextlib
from typing import Any

from Xlib import X
from Xlib import display as xlib_display
from Xlib import error as xlib_error

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.types import WindowInfo
from vlm_agent.desktop.x11_clients import GONE
from vlm_agent.errors import ConfigError

_EXTENSIONS = ("XTEST", "RECORD", "XInputExtension")
"""To press, to hear, and to hear raw motion."""


def connect(name: str | None = None) -> Any:
    """Return a connection to an X server.

    Args:
        name: such as `:0`; None takes DISPLAY.

    Raises:
        ConfigError: there is no such server, or it refuses us.
    """
    try:
        return xlib_display.Display(name)
    except (xlib_error.DisplayError, xlib_error.XauthError, OSError) as error:
        where = name or "DISPLAY"
        raise ConfigError(
            f"can't reach the X server of {where}: {error}; is DISPLAY right, and may you use it?"
        ) from error


def is_xwayland(display: Any) -> bool:
    """Return whether a server is XWayland: it shows its own windows' input and pictures to nobody but a compositor.

    Newer ones have an extension for this very question (`XWAYLAND`, 2022), older ones name their outputs so.
    """
    if display.has_extension("XWAYLAND"):
        return True
    if not display.has_extension("RANDR"):
        return False
    resources = display.screen().root.xrandr_get_screen_resources()
    names = [display.xrandr_get_output_info(output, resources.config_timestamp).name for output in resources.outputs]
    return any(str(name).startswith("XWAYLAND") for name in names)


class X11Desktop:
    """A connection to an X server that answers questions about its windows."""

    def __init__(self, name: str | None = None) -> None:
        """Connect.

        Raises:
            ConfigError: there is no such server, or it refuses us.
        """
        self._display = connect(name)
        self.display = self._display
        """The connection, for what has to be done in one order with the questions asked here."""
        self._root = self._display.screen().root
        self._atoms: dict[str, int] = {}

    @property
    def screen(self) -> Rect:
        """The root window, all monitors."""
        geometry = self._root.get_geometry()
        return Rect(0, 0, geometry.width, geometry.height)

    def list_windows(self) -> list[WindowInfo]:
        """Return the top-level windows that can be seen, the topmost last."""
        windows = [self._describe(window) for window in self._list_top_levels()]
        return [window for window in windows if window is not None]

    def describe(self, window_id: int) -> WindowInfo | None:
        """Return how a window is now; None where it is closed or hidden."""
        return self._describe(self._display.create_resource_object("window", window_id))

    def exists(self, window_id: int) -> bool:
        """Return whether a window is there at all, shown or not."""
        with contextlib.suppress(*GONE):
            self._display.create_resource_object("window", window_id).get_attributes()
            return True
        return False

    def find_focused(self) -> int | None:
        """Return the top-level window that the keyboard goes to; None where no window has it."""
        focus = self._display.get_input_focus().focus
        if isinstance(focus, int):
            if focus == X.PointerRoot:
                return self.find_at(*self.read_pointer())
            return None
        return self._find_top_level(focus)

    def find_at(self, x: int, y: int) -> int | None:
        """Return the topmost top-level window at a point of the screen."""
        child = self._root.translate_coords(self._root, x, y).child
        return None if isinstance(child, int) else self._find_client(child)

    def list_missing(self) -> list[str]:
        """Return the extensions that hearing or pressing devices takes and this server has not."""
        return [name for name in _EXTENSIONS if not self._display.query_extension(name).present]

    def read_pointer(self) -> tuple[int, int]:
        """Return where the pointer is on the screen."""
        pointer = self._root.query_pointer()
        return pointer.root_x, pointer.root_y

    def close(self) -> None:
        """Give the connection back; harmless the second time."""
        with contextlib.suppress(xlib_error.ConnectionClosedError, OSError):
            self._display.close()

    def _list_top_levels(self) -> list[Any]:
        listed = self._read(self._root, "_NET_CLIENT_LIST_STACKING")
        if listed:
            return [self._display.create_resource_object("window", int(window_id)) for window_id in listed]
        return list(self._root.query_tree().children)

    def _describe(self, window: Any) -> WindowInfo | None:
        try:
            attributes = window.get_attributes()
            if attributes.map_state != X.IsViewable or attributes.win_class != X.InputOutput:
                return None
            geometry = window.get_geometry()
            origin = window.translate_coords(self._root, 0, 0)
            names = window.get_wm_class() or ("",)
            pids = self._read(window, "_NET_WM_PID")
            # Asked the other way round, the server says where the root's origin is in the window: it is minus that.
            rect = Rect(-origin.x, -origin.y, geometry.width, geometry.height)
            title = self._read_title(window)
            return WindowInfo(window.id, title, rect, names[-1], int(pids[0]) if pids else None)
        except GONE:
            return None

    def _read_title(self, window: Any) -> str:
        title = self._read(window, "_NET_WM_NAME")
        if title is not None:
            return bytes(title).decode("utf-8", "replace")
        name = window.get_wm_name()
        return name.decode("latin-1") if isinstance(name, bytes) else str(name or "")

    def _read(self, window: Any, name: str) -> Any:
        atom = self._atoms.setdefault(name, self._display.intern_atom(name))
        found = window.get_full_property(atom, X.AnyPropertyType)
        return None if found is None else found.value

    def _find_top_level(self, window: Any) -> int | None:
        """Return the listed window that a window lies in."""
        listed = {top.id for top in self._list_top_levels()}
        with contextlib.suppress(*GONE):
            while window.id not in listed:
                parent = window.query_tree().parent
                if isinstance(parent, int) or parent.id == self._root.id:
                    return None
                window = parent
            return int(window.id)
        return None

    def _find_client(self, frame: Any) -> int | None:
        """Return the listed window in a child of the root: itself, or what a window manager put into it."""
        listed = {top.id for top in self._list_top_levels()}
        waiting = [frame]
        with contextlib.suppress(*GONE):
            while waiting:
                window = waiting.pop(0)
                if window.id in listed:
                    return int(window.id)
                waiting += window.query_tree().children
        return None
