"""Independent jobs in processes beside this one, each on one thread.

A terminal sends Ctrl-C to all of them, and so may whoever kills a group. Only this process hears it: the others are
begun with such signals blocked, and are killed when it is told to end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import TypeVar

from vlm_agent.errors import ENDING_SIGNALS

Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""One thread a worker: processes beside each other must not compete for cores."""


MODEL_MODULES = ("vlm_agent.policies", "vlm_agent.models.loading", "vlm_agent.decoding.engine")
"""What whoever runs a model imports; it takes five seconds."""


def run_beside(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, *, with_models: bool = True
) -> Iterator[Result]:
    """Yield the result of every job as it is finished, in any order.

    Args:
        work: a function of a module, or a partial of one; runs in a fresh process.
        jobs: picklable arguments.
        workers: most processes at a time.
        with_models: whether the work runs models; all processes that do share one import of what that takes.
    """
    num_workers = min(workers, len(jobs))
    others = set(multiprocessing.active_children())
    with _deaf_children():
        context = _share_imports() if with_models else multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        num_workers, mp_context=context, initializer=_begin_worker, initargs=(dict(os.environ),)
    ) as pool:
        try:
            with _deaf_children():
                futures = [pool.submit(work, job) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
        except (KeyboardInterrupt, GeneratorExit):
            # Told to end, or nobody listens any more: what is under way is of no use to anybody.
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise
        finally:
            # Where one job failed, those not begun are not worth beginning.
            pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Block the signals that end a program for processes that are begun here; this one gets them afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker  # not on Windows

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        # The one who looks after semaphores; by itself it leaves SIGHUP open, and to begin it opens the others here.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _share_imports() -> BaseContext:
    """Return the way to start processes that have models' modules imported.

    They are forked, but never from this process: a forked child of one that runs torch's threads may hang. They come
    from a server that has imported what it takes and done nothing else; it lives as long as this process.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODEL_MODULES))
    from multiprocessing.forkserver import ensure_running  # not on Windows

    own = {name: os.environ.get(name) for name in THREADS_VARIABLES}
    _use_one_thread()
    try:
        ensure_running()
    finally:
        for name, value in own.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return context


def _begin_worker(environment: Mapping[str, str]) -> None:
    # A server's children have the environment it began with.
    os.environ.clear()
    os.environ.update(environment)
    _use_one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the process that wants its results is gone: killed, it can't tell anybody to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _use_one_thread() -> None:
    # Read by torch and numpy when they are first imported, which is after this.
    for name in THREADS_VARIABLES:
        os.environ[name] = "1"
