"""What came before a window in its own session: the decisions that its prompt shows with it.

A policy sees an unbroken run of decisions, one a horizon. So do windows: a run ends where the next window lies too far
off, and in conversations where the goal changes. Windows that are not learnt from are part of it all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from vlm_agent.chat import Recipe
from vlm_agent.clips import NS_PER_MS
from vlm_agent.dataset.windows import Window

Stream = tuple[str, ...]
"""What windows of one run have in common: the session, in conversations the goal and its level too."""


class Histories:
    """The runs of a split's windows under one recipe."""

    def __init__(self, windows: Iterable[Window], recipe: Recipe) -> None:
        """Take all windows of a split; a recipe that shows nothing earlier keeps none of them."""
        self._recipe = recipe
        streams: dict[Stream, dict[int, Window]] = defaultdict(dict)
        for window in windows if recipe.most_earlier else ():
            # Two goals at one moment have the same picture.
            streams[self._stream_of(window)].setdefault(window.t_ns, window)
        self.runs = [run for by_time in streams.values() for run in self._part(by_time)]
        """Windows that follow one another, in order of time."""
        self._places = {
            (self._stream_of(window), window.t_ns): (run, number)
            for run in self.runs
            for number, window in enumerate(run)
        }

    def before(self, window: Window) -> tuple[Window, ...]:
        """Return the earlier decisions that are shown with one of the windows, oldest first."""
        if not self._recipe.most_earlier:
            return ()
        run, number = self._places[self._stream_of(window), window.t_ns]
        return tuple(run[number - self._recipe.count_earlier(number) : number])

    def goes_on(self, window: Window) -> bool:
        """Tell whether one of the windows is shown with all that the decision before it was shown with."""
        before = self.before(window)
        return bool(before) and len(before) == len(self.before(before[-1])) + 1

    def _stream_of(self, window: Window) -> Stream:
        if self._recipe.is_conversation:
            return window.session, window.goal_level, window.goal
        return (window.session,)

    def _part(self, by_time: dict[int, Window]) -> list[list[Window]]:
        times = sorted(by_time)
        runs = [[by_time[times[0]]]]
        for before_ns, t_ns in pairwise(times):
            if t_ns - before_ns > self._recipe.most_gap_ms * NS_PER_MS:
                runs.append([])
            runs[-1].append(by_time[t_ns])
        return runs
