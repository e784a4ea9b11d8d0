"""A Windows desktop through a stand-in for user32: places, order, focus; the real one has not been run."""

# ruff: noqa: N802 - a stand-in has the names that Windows gave
from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import vlm_agent
from vlm_agent.actions.placement import Rect
from vlm_agent.desktop import win32
from vlm_agent.desktop.types import Obstacle, WindowInfo
from vlm_agent.desktop.win32 import Win32Desktop, Win32Reach
from vlm_agent.desktop.windows import choose_window


class FakeUser32:
    """Two windows on two monitors, the second left of the first."""

    windows = {11: ("Game", (-500, 40, 400, 300), 70), 12: ("Mail", (10, 20, 800, 600), 71)}  # noqa: RUF012

    def __init__(self) -> None:
        self.hidden: set[int] = set()
        self.dpi: list[int] = []
        self.foreground = 11

    def SetProcessDpiAwarenessContext(self, value: int) -> int:
        self.dpi.append(value)
        return 1

    def GetSystemMetrics(self, number: int) -> int:
        return {76: -1280, 77: 0, 78: 3200, 79: 1080}[number]

    def EnumWindows(self, callback: Any, value: int) -> int:
        for handle in self.windows:
            assert callback(handle, value)
        return 1

    def IsWindowVisible(self, handle: int) -> bool:
        return handle in self.windows and handle not in self.hidden

    def IsIconic(self, handle: int) -> bool:
        return False

    def GetClientRect(self, handle: int, area: Any) -> int:
        _, _, area._obj.right, area._obj.bottom = (0, 0, *self.windows[handle][1][2:])
        return 1

    def ClientToScreen(self, handle: int, point: Any) -> int:
        point._obj.x, point._obj.y = self.windows[handle][1][:2]
        return 1

    def GetWindowTextW(self, handle: int, buffer: Any, length: int) -> int:
        buffer.value = self.windows[handle][0]
        return len(buffer.value)

    def GetWindowThreadProcessId(self, handle: int, pid: Any) -> int:
        pid._obj.value = self.windows[handle][2]
        return 1

    def IsWindow(self, handle: int) -> bool:
        return handle in self.windows

    def GetForegroundWindow(self) -> int:
        return self.foreground

    def WindowFromPoint(self, point: Any) -> int:
        return 110 if point.x < 0 else 0 if point.x < 9 else 12

    def GetAncestor(self, handle: int, kind: int) -> int:
        # A button lies in the game, and a dialog belongs to it.
        return {2: {110: 11}, 3: {110: 11, 13: 11}}[kind].get(handle, handle)

    def GetCursorPos(self, point: Any) -> int:
        point._obj.x, point._obj.y = -3, 9
        return 1


class FakeKernel32:
    def __init__(self) -> None:
        self.open = 0

    def OpenProcess(self, access: int, inherit: bool, pid: int) -> int:
        self.open += pid == 70
        return 5 if pid == 70 else 0

    def QueryFullProcessImageNameW(self, process: int, flags: int, name: Any, length: Any) -> int:
        name.value = r"C:\Games\game.exe"
        return 1

    def CloseHandle(self, process: int) -> int:
        self.open -= 1
        return 1


def test_windows_are_listed_from_below_with_their_client_area_and_program():
    kernel32, user32 = FakeKernel32(), FakeUser32()
    desktop = Win32Desktop(user32, kernel32)
    assert user32.dpi == [-4]
    assert desktop.screen == Rect(-1280, 0, 3200, 1080)
    game = WindowInfo(11, "Game", Rect(-500, 40, 400, 300), "game.exe", 70)
    assert desktop.list_windows() == [WindowInfo(12, "Mail", Rect(10, 20, 800, 600), "", 71), game]
    assert choose_window(desktop, "game", app="game.exe") == game
    assert kernel32.open == 0
    user32.hidden.add(11)
    assert desktop.describe(11) is None
    assert (desktop.exists(11), desktop.exists(99)) == (True, False)


def test_focus_pointer_and_the_window_at_a_point():
    desktop = Win32Desktop(FakeUser32(), FakeKernel32())
    assert desktop.find_focused() == desktop.find_at(-400, 50) == 11
    assert desktop.find_at(5, 5) is None
    assert desktop.read_pointer() == (-3, 9)


def test_input_comes_to_a_window_and_to_the_dialogs_that_it_owns():
    user32 = FakeUser32()
    reach, game = Win32Reach(user32), WindowInfo(11, "Game", Rect(-500, 40, 400, 300), "game.exe", 70)
    assert reach.find_obstacle(game, None) is None
    assert reach.find_obstacle(game, (-400, 50)) is None
    assert reach.find_obstacle(game, "pointer") is None
    assert reach.find_obstacle(game, (5, 50)) == Obstacle.COVERED
    assert reach.find_obstacle(game, (50, 50)) == Obstacle.COVERED
    user32.foreground = 13
    assert reach.find_obstacle(game, None) is None
    for foreground in (0, 12):
        user32.foreground = foreground
        assert reach.find_obstacle(game, (-400, 50)) == Obstacle.FOCUS
    assert reach.client is None
    with reach.hold_still():
        pass
    reach.close()


def test_every_function_that_is_called_says_how_wide_its_handles_are(monkeypatch):
    class Library(defaultdict[str, SimpleNamespace]):
        __getattr__ = defaultdict.__getitem__

    monkeypatch.setattr(win32, "load_library", lambda name: Library(SimpleNamespace))
    declared = {"user32": win32.load_user32(), "kernel32": win32.load_kernel32()}
    sources = "".join(path.read_text() for path in Path(vlm_agent.__file__).parent.rglob("*.py"))
    called = set(re.findall(r"\b_?(user32|kernel32)\.([A-Z]\w+)", sources))
    assert {("user32", "SetWindowsHookExW"), ("user32", "SendInput"), ("kernel32", "OpenProcess")} <= called
    assert {(name, function) for name, library in declared.items() for function in library} == called
