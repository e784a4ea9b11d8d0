"""Setting up play on a real screen: window, model, executor; and saying at the end what the executor did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.desktop.screen import ScreenGrabber
from vlm_agent.desktop.types import WindowInfo
from vlm_agent.desktop.windows import choose_window, open_desktop
from vlm_agent.executors.client import ExecutorClient
from vlm_agent.executors.focus import Target
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.process import ExecutorSettings
from vlm_agent.policies import VlmPolicy
from vlm_agent.rollouts.desktop import DesktopEnvironment, View
from vlm_agent.rollouts.desktop_settings import DesktopSettings
from vlm_agent.rollouts.live_states import LiveState

if TYPE_CHECKING:
    from vlm_agent.rollouts.command import RunConfig


@contextmanager
def open_desktop_play(
    config: RunConfig, load: Callable[[ActionSpec], VlmPolicy], tell: Callable[[str], None]
) -> Iterator[tuple[DesktopEnvironment, VlmPolicy]]:
    """Yield the environment of a window and the policy for it; says before and after what is done.

    Args:
        config: model, goal, and the desktop's settings.
        load: loads the model; takes what an untuned one may do.
        tell: takes lines for the person.

    Raises:
        ConfigError: no such window, or it can't be acted on safely.
        ModelError: there is no such model, or it can't be used.
    """
    settings = config.desktop
    with ExitStack() as stack:
        desktop = open_desktop()
        stack.callback(desktop.close)
        window = choose_window(desktop, settings.window, app=settings.window_class, pid=settings.window_pid)
        rect = window.rect
        policy = load(ActionSpec(*(settings.frame_size or (rect.width, rect.height)), keys=settings.keys))
        frame = settings.frame_size or find_frame_size(policy, window)
        spec = policy.recipe.spec.with_extent(*frame)
        state = _open_state(settings, stack)
        grabber = ScreenGrabber()
        stack.callback(grabber.close)
        audit = settings.audit or _free_audit(config.out, f"{Path(config.model).name or 'model'}-{config.seed}")
        client = ExecutorClient(_choose_executor(settings, spec, frame, audit))
        stack.callback(client.close)
        for line in (_say_what_is_done(settings, window), *client.notes):
            tell(line)
        view = View(desktop, window, grabber)
        if state is not None:
            view = replace(view, read_state=state, wait_for_news=state.wait_for_news, state_age_ns=lambda: state.age_ns)
        env = DesktopEnvironment(client, view, spec, wait_s=settings.wait_s, tell=tell)
        try:
            yield env, policy
        finally:
            env.close()
            tell(describe_counts(env.counts, audit, is_live=settings.live))


def find_frame_size(policy: VlmPolicy, window: WindowInfo) -> tuple[int, int]:
    """Return the size of frames for a model: that of its recordings; of the window where they are not known."""
    record = policy.loaded.record or {}
    width_px, height_px = record.get("frame_px") or (window.rect.width, window.rect.height)
    return int(width_px), int(height_px)


def describe_counts(counts: dict[str, Any] | None, audit: Path, *, is_live: bool) -> str:
    """Return what the executor did, in a line."""
    if counts is None:
        return f"executor: it ended without a word; what it did until then is in {audit}"

    def join(numbers: dict[str, int]) -> str:
        return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items())) or "none"

    ended = f"{counts['state']} {counts['reason']}".strip()
    sent = "sent" if is_live else "dry run, would have sent"
    return (
        f"executor ({ended}): {sent} {join(counts['sent'])}; dropped {join(counts['dropped'])};"
        f" released by itself {join(counts['released'])}; late actions {counts['late_actions']}; audit {audit}"
    )


def _say_what_is_done(settings: DesktopSettings, window: WindowInfo) -> str:
    if not settings.live:
        return f"dry run on {window.title!r}: everything is decided and checked, nothing is injected; --live acts"
    keys = " or ".join(settings.stop_keys)
    hands = ", or by touching mouse or keyboard" if settings.person_stops else ""
    return f"live on {window.title!r}: stop it with {keys}, `vlm-agent stop`, the mouse in a corner{hands}"


def _choose_executor(
    settings: DesktopSettings, spec: ActionSpec, frame: tuple[int, int], audit: Path
) -> ExecutorSettings:
    return ExecutorSettings(
        Target(settings.window, settings.window_class, settings.window_pid),
        spec,
        frame,
        is_live=settings.live,
        audit=audit.absolute(),
        hotkeys=settings.stop_keys,
        person_stops=settings.person_stops,
        leases=LeaseTerms(settings.lease_ms),
        session_s=settings.session_s,
    )


def _open_state(settings: DesktopSettings, stack: ExitStack) -> LiveState | None:
    if settings.gamestate is None:
        return None
    state = LiveState(settings.gamestate)
    stack.callback(state.close)
    return state


def _free_audit(folder: Path, name: str) -> Path:
    for number in count(1):
        path = folder / f"{name if number == 1 else f'{name}-{number}'}.audit.jsonl"
        if not path.exists():
            return path
    raise AssertionError("counting never ends")
