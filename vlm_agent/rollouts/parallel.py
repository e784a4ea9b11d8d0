"""Independent jobs in processes beside this one, each on one thread."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""One thread a worker: processes beside each other must not compete for cores."""


def run_beside(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Yield the result of every job as it is finished, in any order.

    Args:
        work: a function of a module, or a partial of one; runs in a fresh process.
        jobs: picklable arguments.
        workers: most processes at a time.
    """
    # Spawned, not forked: a forked child of a process that runs torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    num_workers = min(workers, len(jobs))
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_use_one_thread) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            # Where one job failed, or the caller stopped listening, those not begun are not worth beginning.
            pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    # Read by torch and numpy when they are first imported, which is after this.
    for name in THREADS_VARIABLES:
        os.environ[name] = "1"
