"""Whose a window of an X server is: the connection that made it, the process behind that, and the window it serves.

Every identifier that a client makes carries the client's own number in its upper bits, which nobody can choose. One
program may have several connections; the X-Resource extension tells the process of each, as the system knows it.
https://www.x.org/releases/X11R7.7/doc/xproto/x11protocol.html#Connection_Setup and resourceproto 1.2
"""

from __future__ import annotations

import contextlib
from typing import Any

from Xlib import X
from Xlib import error as xlib_error
from Xlib.ext import res

GONE = (xlib_error.BadWindow, xlib_error.BadDrawable, xlib_error.BadMatch)
"""What the server answers when a window was closed while it was asked about."""
SERVER_ITSELF = 0
"""The client number of the root window and all else that the server made."""
_MOST_STEPS = 16
"""Of a chain of windows that serve one another; a circle must end."""


class X11Clients:
    """Answers, by one connection, which windows belong together."""

    def __init__(self, display: Any) -> None:
        """Take the connection; it stays the caller's."""
        self._display = display
        self._mask = int(display.display.info.resource_id_mask)
        self._root_id = int(display.screen().root.id)
        self._pid_atom = display.intern_atom("_NET_WM_PID")
        self._has_pids = bool(display.has_extension(res.extname))

    def find_client(self, resource_id: int) -> int:
        """Return the number of the client that made a window or anything else; needs no asking."""
        return resource_id & ~self._mask

    def find_pid(self, client: int) -> int | None:
        """Return the process of a client; None where the server does not know it (a remote one, or it is gone)."""
        if not self._has_pids or client == SERVER_ITSELF:
            return None
        try:
            spec = {"client": client, "mask": res.LocalClientPIDMask}
            ids = self._display.res_query_client_ids([spec]).ids
        except xlib_error.XError:
            return None
        return next((int(one.value[0]) for one in ids if one.value), None)

    def is_same_program(self, window_id: int, other_id: int) -> bool:
        """Return whether two windows are one program's.

        Those of one connection are. Those of two are where both say the same process (`_NET_WM_PID`) and the server,
        which can't be told stories, says so of their connections too.
        """
        client, other = self.find_client(window_id), self.find_client(other_id)
        if SERVER_ITSELF in (client, other):
            return False
        if client == other:
            return True
        pid = self._read_pid(window_id)
        return (
            pid is not None and pid == self._read_pid(other_id) == self.find_pid(client) and pid == self.find_pid(other)
        )

    def find_deepest(self, x: int, y: int) -> int:
        """Return the innermost window at a point of the screen, as a click finds it; the root where there is none."""
        root = self._display.screen().root
        window = root
        with contextlib.suppress(*GONE):
            while not isinstance(child := window.translate_coords(root, x, y).child, int):
                window = child
        return int(window.id)

    def list_ancestors(self, window_id: int) -> list[int]:
        """Return a window and those that it lies in, without the root; what is there where one is closed meanwhile."""
        chain: list[int] = []
        window = self._display.create_resource_object("window", window_id)
        with contextlib.suppress(*GONE):
            while window.id != self._root_id:
                chain.append(int(window.id))
                window = window.query_tree().parent
                if isinstance(window, int):
                    break
        return chain

    def is_part_of(self, window_id: int, target_id: int) -> bool:
        """Return whether a window is the target, lies in it, or is a pop-up or dialog that its program shows for it.

        A menu is made as a window that no manager touches (override-redirect); a dialog says for which window it is.
        Another plain window of the same program is not part of the target, and neither is another program's pop-up.
        """
        chain = self.list_ancestors(window_id)
        if target_id in chain:
            return True
        return any(self.is_same_program(one, target_id) and self._serves(one, target_id) for one in chain)

    def is_pop_up(self, window_id: int) -> bool:
        """Return whether a window manager has no say in a window (override-redirect): a menu, a notification."""
        with contextlib.suppress(*GONE):
            return bool(self._display.create_resource_object("window", window_id).get_attributes().override_redirect)
        return False

    def _read_pid(self, window_id: int) -> int | None:
        window = self._display.create_resource_object("window", window_id)
        with contextlib.suppress(*GONE):
            found = window.get_full_property(self._pid_atom, X.AnyPropertyType)
            return int(found.value[0]) if found is not None and len(found.value) else None
        return None

    def _serves(self, window_id: int, target_id: int) -> bool:
        window = self._display.create_resource_object("window", window_id)
        with contextlib.suppress(*GONE):
            if window.get_attributes().override_redirect:
                return True
            for _ in range(_MOST_STEPS):
                window = window.get_wm_transient_for()
                # For the root means: for all windows of its program.
                if window is None or window.id in (target_id, self._root_id):
                    return window is not None
        return False
