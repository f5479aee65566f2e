"""Stopping a run: Ctrl-C, a SIGTERM or a closed terminal end its jobs, and one sentence says how to
go on.

Snakemake lets running jobs finish on SIGTERM, which may take hours, and prints their tracebacks on
Ctrl-C. A second signal kills what is left.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

import psutil

from bakery.console.board import RunningJob

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def arm(running: Callable[[], Sequence[RunningJob]], say: Callable[[str], None]) -> None:
    """From here on the signals stop this process and its jobs. Call it in the main thread.

    `running` gives the jobs at work, `say` shows the sentence. A signal that is ignored (nohup) stays
    so.
    """
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        children = psutil.Process().children(recursive=True)
        if stopped:
            _each(children, psutil.Process.kill)
            return
        stopped = True
        say(sentence(running()))
        _each(children, psutil.Process.terminate)
        raise KeyboardInterrupt

    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, stop)


def sentence(jobs: Sequence[RunningJob]) -> str:
    """What to tell whoever stops these jobs."""
    saved = [
        f"{job.label} after epoch {status['epoch'] - 1}"
        for job in jobs
        if job.stage == "train" and (status := job.status()).get("epoch", 0) > 1
    ]
    where = f": it resumes {', '.join(saved)}" if saved else "; what is finished stays"
    return f"Stopped. Run the same command again to go on{where}"


def _each(processes: Sequence[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            act(process)
