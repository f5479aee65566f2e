"""What every door does: unpack Snakemake's job, keep the log, turn bad input into one sentence."""

from __future__ import annotations

from bakery.jobs import by_hand  # noqa: F401

# isort: split
import fcntl
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from bakery.io import devices, machine_faults, manifest, status
from bakery.io.errors import BakeryError
from bakery.io.files import sync
from bakery.jobs import giving_up, job_times, leases
from bakery.jobs.parent import end_with_parent
from bakery.settings import config as cfg
from bakery.settings.sections import Section

log = logging.getLogger("bakery")

LINE = "%(asctime)s %(levelname)s %(message)s"
"""Of a job's log."""
CONSOLE = "BAKERY_CONSOLE"
"""Set in the environment where the engine shows each job's progress and errors itself."""
_BEGINS = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ", re.MULTILINE)


class LoggedJob:
    """A running job: keeps its log, and turns bad input into one sentence.

    Inside the `with`, a `BakeryError` and a fault of the machine (a full disk, too little memory) end
    the job with a sentence and no traceback; any other exception is a bug, whose traceback goes to
    the log.
    """

    def __init__(self, snakemake: Any, name: str) -> None:
        self.name = name
        self.place = Path("results", name)
        """What the job writes."""
        self._log_file = Path(snakemake.log[0])

    def __enter__(self) -> Self:
        self._log_file.write_text("")
        logging.basicConfig(
            filename=self._log_file,
            filemode="a",
            level=logging.INFO,
            format=LINE,
            force=True,
        )
        logging.captureWarnings(True)
        status.write_to(status.beside(self._log_file))
        _stop_with_the_engine()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):  # its status stays: the engine says how far it is
            log.info("stopped on request")
            _exit(130)  # as a shell says it
        status.write_to(None)
        said = str(error) if isinstance(error, BakeryError) else None
        if isinstance(error, Exception) and said is None:
            said = machine_faults.sentence(error, self.place)
        if said is not None:
            log.error("%s", said)
            self._tell(said)
            _exit(1)
        if isinstance(error, Exception):
            log.critical("unexpected error", exc_info=error)
            self._tell(
                f"unexpected {type(error).__name__}: {error} "
                f"(a bug of ours: please report it with {self._log_file})"
            )
            _exit(1)
        if error is None:
            giving_up.end_with(0)

    def _tell(self, sentence: str) -> None:
        """On the terminal, unless the engine reads it from the log and shows it itself."""
        if CONSOLE not in os.environ:
            print(f"\n{self.name}: {sentence}\n", file=sys.stderr, flush=True)


class Job(LoggedJob):
    """A running job of one stage.

    `with Job(snakemake) as job: job.finish(stage.run(job.settings, ..., out=job.out))`

    The folder is locked meanwhile: after a killed run, an orphan and its successor never write to
    the same place at once.
    """

    def __init__(self, snakemake: Any) -> None:
        self.about: dict[str, Any] = dict(snakemake.params.node)
        self.stage: str = self.about["stage"]
        super().__init__(snakemake, self.stage)
        self.settings: Section = cfg.section_of(self.stage).model_validate(self.about["settings"])
        self.out = self.place = Path(snakemake.output[0]).parent
        self.threads: int = snakemake.threads
        self._input = snakemake.input

    def folder(self, stage: str, *patterns: str) -> Path:
        """The finished folder of an earlier stage, from the rule's input of that name.

        All its files are as that stage wrote them, or those that match `patterns`, where the stage
        reads no others (`manifest.checked`).
        """
        return manifest.checked(self._place(stage), *patterns)

    def manifest_of(self, stage: str) -> dict[str, Any]:
        """The manifest of an earlier stage; its files are not looked at."""
        return manifest.read(self._place(stage))

    def _place(self, stage: str) -> Path:
        return Path(self._input[stage]).parent

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the manifest: the stage is done."""
        manifest.write(self.out, self.about, summary)
        log.info("%s done: %s", self.stage, summary)

    def __enter__(self) -> Self:
        self.out.mkdir(parents=True, exist_ok=True)
        super().__enter__()
        job_times.begin(self._log_file)
        if CONSOLE in os.environ:  # what libraries print goes into the log, not between live lines
            with self._log_file.open("ab") as file:
                for stream in (1, 2):
                    os.dup2(file.fileno(), stream)
        # lockf, not flock: a flock stays held by forked children of a killed process
        self._lock = (self.out / ".lock").open("w")
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        sync(
            self.out
        )  # the engine removed its manifest: it must not come back over unfinished files
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        job_times.note(self._log_file, done=error is None)
        self._lock.close()
        super().__exit__(kind, error, trace)


def _exit(status: int) -> NoReturn:
    giving_up.end_with(status)
    sys.exit(status)


def _stop_with_the_engine() -> None:
    """SIGTERM, and the end of the process that started this one, interrupt the job like Ctrl-C.

    A killed engine leaves its jobs behind; they would train beside those of the next run.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the engine's: bakes end after their epoch
    end_with_parent("the engine is gone: stopping; the next run goes on from here")


@contextmanager
def leased_gpu() -> Iterator[None]:
    """A GPU for this job alone, if there are any (see `leases`); also usable as a decorator.

    Must be called before CUDA starts, which reads `CUDA_VISIBLE_DEVICES` only once: a process that
    calls it again gets the same GPU. Locks are in the temporary folder, so that all bakeries of a
    user on this machine share its GPUs.
    """
    if sys.platform == "darwin":  # the CPU does what MPS cannot; torch reads it when it is imported
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    among = leases.gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not among:
        yield
        return
    folder = Path(tempfile.gettempdir()) / f"lora-bakery-{os.getuid()}"
    with leases.lease(among, folder) as gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu.visible
        yield
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # another job may take this GPU while this process continues


def errors(log_file: Path) -> list[str]:
    """The errors in a job's log; an unexpected one with its traceback."""
    text = log_file.read_text(encoding="utf-8", errors="replace")
    _, *parts = _BEGINS.split(text)
    records = zip(parts[::2], parts[1::2], strict=True)
    return [said.strip() for level, said in records if level in {"ERROR", "CRITICAL"}]


device = devices.best
"""Where torch runs: the GPU if there is one."""
