"""Who gets what is pressed on an X server: the focus, what lies under the pointer, and grabs, in one look.

All questions of a look go out together, so that it takes one exchange with the server. While the server is held still
(a server grab: no other client's requests are carried out) a look and the press that follows on the same connection
can't be parted: no window can take the focus in between, and none can be grabbed or raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from Xlib import X
from Xlib.protocol import request

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.types import Obstacle, Place, WindowInfo
from vlm_agent.desktop.x11 import X11Desktop
from vlm_agent.desktop.x11_clients import GONE, X11Clients
from vlm_agent.desktop.x11_grabs import Grabbable, GrabOwner, GrabWatch
from vlm_agent.desktop.x11_hotkeys import ask_hotkey

_ANY_BUTTON = X.Button1Mask | X.Button2Mask | X.Button3Mask | X.Button4Mask | X.Button5Mask


class KeyboardState(NamedTuple):
    """Who has the keyboard, as seen from a window."""

    focused_id: int | None = None
    """The window with the focus, if one has it."""
    is_own_grab: bool | None = None
    """Whether the window's program has grabbed it; None where nobody has."""
    was_own_grab: bool = False
    """Whether who grabbed it last was the window's program."""


class X11Reach:
    """Answers on the connection of a desktop; see `Reach`."""

    def __init__(self, desktop: X11Desktop, on_change: Callable[[], None]) -> None:
        """Begin to follow grabs.

        Args:
            desktop: whose connection asks; it stays the caller's.
            on_change: called in another thread when somebody may have taken the keyboard or the pointer.

        Raises:
            ConfigError: the server does not let us hear who grabs.
        """
        self._display = desktop.display
        self._root = self._display.screen().root
        self._clients = X11Clients(self._display)
        self._grabs = GrabWatch(self._display, on_change)
        self._is_held = False
        self._parts: dict[int, bool] = {}
        """Windows of the last look, and if they are part of the target; not asked again while the server is held."""
        self._places: dict[tuple[int, tuple[int, int]], bool] = {}
        """The same of what lies in a child of the root at a point."""
        self._was_pointer_ours = False
        """Whether at the last look nobody, or the target's own program, had the pointer."""
        self._state = 0
        """Modifiers and buttons that were down at the last look."""

    @property
    def client(self) -> int | None:
        """A window of our connection, by which another client can close it."""
        return int(self._grabs.unseen_id)

    def find_obstacle(self, window: WindowInfo, place: Place, code: int | None = None) -> Obstacle | None:
        """Return what keeps input from a window, and from its menus and dialogs; None where nothing does."""
        if not self._is_held:
            self._parts, self._places = {}, {}
        point = place if isinstance(place, tuple) else None
        is_hotkey = ask_hotkey(self._display, code, self._state) if code is not None and self._is_held else None
        try:
            grabbed, focus, pointer, over, rect = self._ask(window.window_id, point)
        except GONE:
            return Obstacle.MOVED
        for what, grabber in grabbed.items():
            if not self._is_own(what, grabber, window.window_id, pointer.mask):
                self._was_pointer_ours = False
                return Obstacle.KEYBOARD if what == "keyboard" else Obstacle.POINTER
        was_state, self._state = self._state, pointer.mask
        if rect != window.rect:
            return Obstacle.MOVED
        if is_hotkey is not None and (is_hotkey() or was_state != pointer.mask):
            return Obstacle.HOTKEY
        self._was_pointer_ours = True
        at_pointer = (pointer.root_x, pointer.root_y)
        if "keyboard" not in grabbed and not self._has_focus(focus, window.window_id, at_pointer):
            return Obstacle.FOCUS
        if point is not None and not self._is_over(over, point, window.window_id):
            return Obstacle.COVERED
        is_free = place == "pointer" and "pointer" not in grabbed
        if is_free and not self._is_over(pointer.child, at_pointer, window.window_id):
            return Obstacle.COVERED
        return None

    def takes_click(self, target_id: int, point: tuple[int, int]) -> bool:
        """Return whether a press at a point comes, or while its button is down has come, to a window."""
        self._parts, self._places = {}, {}
        grabbed, _, pointer, over, _ = self._ask(target_id, point)
        grabber = grabbed.get("pointer")
        if grabber is not None:
            return self._is_own("pointer", grabber, target_id, pointer.mask)
        # Somebody unknown has the pointer: as long as the button is down that may be whom the press came to.
        if "pointer" in grabbed and not pointer.mask & _ANY_BUTTON:
            return False
        # Where nothing is now, nothing lay over it: it has moved since.
        return isinstance(over, int) or self._is_over(over, point, target_id)

    def find_keyboard(self, target_id: int) -> KeyboardState:
        """Return who has the keyboard, as seen from a window."""
        self._parts, self._places = {}, {}
        grabbed, focus, pointer, _, _ = self._ask(target_id, None)
        last = self._grabs.find_last("keyboard")
        # Who has let go between the trial and hearing of it is known as the last.
        now = grabbed.get("keyboard") or last
        return KeyboardState(
            focused_id=None if isinstance(focus, int) else int(focus.id),
            is_own_grab=self._is_own("keyboard", now, target_id, pointer.mask) if "keyboard" in grabbed else None,
            was_own_grab=self._is_own("keyboard", last, target_id, pointer.mask),
        )

    @contextlib.contextmanager
    def hold_still(self) -> Iterator[None]:
        """Grab the server for a block; whatever happens in it, the server is let go."""
        self._display.grab_server()
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._display.ungrab_server()
            self._display.flush()

    def close(self) -> None:
        """Follow grabs no more; harmless the second time."""
        self._grabs.close()

    def _ask(self, window_id: int, point: tuple[int, int] | None) -> tuple[Any, Any, Any, Any, Rect]:
        """Return who has grabbed what, the focus, the pointer, the topmost at the point, and where the window is."""
        asking: dict[str, Any] = {"display": self._display.display, "defer": True}
        root_id = self._root.id
        trials = self._grabs.ask()
        focus = request.GetInputFocus(**asking)
        pointer = request.QueryPointer(window=root_id, **asking)
        geometry = request.GetGeometry(drawable=window_id, **asking)
        origin = request.TranslateCoords(src_wid=window_id, dst_wid=root_id, src_x=0, src_y=0, **asking)
        x, y = point or (0, 0)
        over = request.TranslateCoords(src_wid=root_id, dst_wid=root_id, src_x=x, src_y=y, **asking)
        # The last answer first: it brings all the others with it. Grabs are read even where the window is gone.
        over.reply()
        grabbed = self._grabs.read(trials)
        for one in (focus, pointer, geometry, origin):
            one.reply()
        rect = Rect(origin.x, origin.y, geometry.width, geometry.height)
        return grabbed, focus.focus, pointer, over.child, rect

    def _is_own(self, what: Grabbable, grabber: GrabOwner | None, target_id: int, buttons: int) -> bool:
        if grabber is None:
            # A press on a window takes the pointer for as long as it lasts, which not every client is told in a way
            # that RECORD shows. Whoever asked for the pointer would be known.
            return what == "pointer" and self._was_pointer_ours and bool(buttons & _ANY_BUTTON)
        owner = self._clients.find_client(target_id)
        if grabber.client == owner:
            return True
        is_its_window = self._clients.find_client(grabber.window_id) == grabber.client
        return is_its_window and self._is_part(grabber.window_id, target_id)

    def _has_focus(self, focus: Any, target_id: int, at_pointer: tuple[int, int]) -> bool:
        if focus == X.NONE:
            return False
        if focus == X.PointerRoot:
            return self._is_part(self._clients.find_deepest(*at_pointer), target_id)
        return self._is_part(int(focus.id), target_id)

    def _is_over(self, top: Any, point: tuple[int, int], target_id: int) -> bool:
        if isinstance(top, int):
            return False
        if (int(top.id), point) not in self._places:
            # A window manager's frame is nobody's part: what lies in it at the point is asked for.
            deepest = self._clients.find_deepest(*point)
            self._places[int(top.id), point] = self._clients.is_part_of(deepest, target_id)
        return self._places[int(top.id), point]

    def _is_part(self, window_id: int, target_id: int) -> bool:
        if window_id not in self._parts:
            self._parts[window_id] = self._clients.is_part_of(window_id, target_id)
        return self._parts[window_id]
