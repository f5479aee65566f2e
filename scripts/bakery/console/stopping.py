"""Stopping a run: Ctrl-C, a SIGTERM or a closed terminal end its jobs, and one sentence says how to
go on. SIGUSR1 ends only the bakes that are training, each after the epoch it is in.

Snakemake lets running jobs finish on SIGTERM, which may take hours, and prints their tracebacks on
Ctrl-C. A second signal kills what is left.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from bakery.console.board import RunningJob
from bakery.jobs import stop_requests

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
        # of a closed terminal: nobody reads it, and the jobs end all the same
        with suppress(OSError):
            say(sentence(running()))
        _each(children, psutil.Process.terminate)
        raise KeyboardInterrupt

    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, stop)


def arm_for_epochs(place: Path, say: Callable[[str], None]) -> None:
    """From here on SIGUSR1 asks every bake that is training in `place` (`results/train`) to stop after
    its epoch; `say` shows that it was heard. Call it in the main thread."""

    def ask(number: int, frame: FrameType | None) -> None:
        stop_requests.ask_all(place)
        say("every bake that is training now ends after the epoch it is in")

    signal.signal(signal.SIGUSR1, ask)


def forget_requests(place: Path) -> list[str]:
    """Remove what an earlier run left unfollowed in `place` (`results/train`); a sentence for each."""
    return [
        f"{path} is from an earlier run and stops nothing: it was removed"
        for path in stop_requests.clear(place)
    ]


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
