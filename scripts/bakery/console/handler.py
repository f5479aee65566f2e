"""What a bake shows on a terminal: a live line for each running job, a line for each finished stage, and
at the end what is recommended.

A logger plugin of Snakemake's (`LogHandler`). `attach` puts it in place of Snakemake's own while the
Snakefile is read, so that it needs no installation; whoever asks for another logger, for `--verbose`,
`--quiet` or a dry run gets Snakemake's own output. All that Snakemake says stays in its log file.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from bakery.console import one_run, sentences
from bakery.console.board import Board, NameOf, RunningJob, summary_of
from bakery.graph import keyed_folders
from bakery.io.errors import BakeryError
from bakery.io.quantities import clock
from bakery.jobs import stop_requests

DEFAULT = "DefaultStreamHandler"
"""What Snakemake calls its own handler."""
EVERY = 60.0
"""Seconds between two lines about a running job where there is no terminal."""
PAGE_EVERY = 10.0
"""Seconds between two versions of `results/index.html` while jobs run."""
_MUTE = {"plan", "gather", "clean", "verify"}  # rules that print for themselves
_NOTHING = "Nothing to be done"
_WHERE = re.compile(r'^WorkflowError in .*:\n|^  File ".*$\n?', re.MULTILINE)

# Snakemake removes the whole folder of locks when a run ends or is refused, also under one that begins.
_LOST_LOCK = re.compile(r"FileNotFoundError: .*\.snakemake/locks/")
_NO_RULE = re.compile(r"No rule to produce (\S+)")

Ending = Callable[[], Sequence[str]]
"""Gives the lines to end with, when all went well."""


def attach(workflow: Any, name_of: NameOf, ending: Ending) -> LogHandler | None:
    """Put the handler in place of Snakemake's own; None where that was not wanted.

    `workflow` is Snakemake's. Only the main process draws, not the jobs it starts.
    """
    logger, settings = workflow.logger_manager.logger, workflow.output_settings
    own = [one for one in logger.handlers if one.name == DEFAULT]
    if not (own and workflow.is_main_process) or (
        settings.verbose or settings.quiet or settings.debug_dag or settings.dryrun
        or settings.printshellcmds
    ):  # fmt: skip
        return None
    handler = LogHandler(settings, None)
    handler.watch(Board(name_of), ending)
    for one in own:
        logger.removeHandler(one)
    logger.addHandler(handler)
    return handler


class _Console(Console):
    """Leaves the cursor as it is: a run that is killed could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class LogHandler(LogHandlerBase):
    """Draws the board. See the module."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.name = "bakery"
        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self._console = _Console(
            file=stream,
            highlight=False,
            soft_wrap=True,
            no_color=self.common_settings.nocolor or None,
        )
        self._live: Live | None = None
        self._has_page = False
        self._told: dict[int, float] = {}
        self._said: set[str] = set()
        self._quiet = threading.Event()
        self._failure_last = False
        self.watch(Board(lambda stage, key: key), lambda: ())

    def watch(self, board: Board, ending: Ending) -> None:
        """Draw this board from here on."""
        self.board, self._ending = board, ending

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`: a fault here never ends the bake."""
        try:
            event = getattr(record, "event", None)
            act = self._ACTS.get(event) if event else None
            if act is not None:
                act(self, record.__dict__)
            elif event is None and record.getMessage().startswith(_NOTHING):
                self._print(Text("Nothing to do: all of it is made."))
                self._end()
            elif event is None and record.levelno >= logging.ERROR:
                self._engine_says(record.getMessage())
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Ends the live lines."""
        self._quiet.set()
        self._stop()
        if self._has_page:
            self._write_page()
        super().close()

    def _planned(self, facts: Mapping[str, Any]) -> None:
        self.board.plan(facts["stats"])
        rules = {rule for rule in facts["stats"] if rule != "total"}
        if rules <= _MUTE or self._live is not None:
            return
        self._has_page = True
        jobs = self.board.total
        self._print(Text(f"{jobs} {'job' if jobs == 1 else 'jobs'} to do; stop with Ctrl-C, "
                         "go on by the same command"))  # fmt: skip
        if "train" in rules:
            self._print(Text("a bake ends after the epoch it is in by: touch "
                             f"results/train/<bake>/{stop_requests.REQUEST}"))  # fmt: skip
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._draw,
                console=self._console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        else:
            threading.Thread(target=self._tell_now_and_then, daemon=True).start()
        threading.Thread(target=self._keep_page, daemon=True).start()

    def _started(self, facts: Mapping[str, Any]) -> None:
        self.board.start(facts)
        if facts["rule_name"] in _MUTE:
            self._stop()  # or the next live line would be drawn over what it prints

    def _finished(self, facts: Mapping[str, Any]) -> None:
        job = self.board.finish(facts["job_id"])
        if job is None or job.stage in _MUTE:
            return
        summary = job.summary()
        line = Text.assemble(
            (f"{_clock()} ", "dim"),
            ("done ", "green"),
            (job.label, "bold"),
            (f" {_took(job)}", "dim"),
        )
        if said := sentences.line(job.stage, summary):
            line.append(f"  {said}")
        self._print(line)
        for warning in sentences.warnings(summary):
            if warning not in self._said:  # of several bakes the same
                self._said.add(warning)
                self._print(Text.assemble(("         note ", "yellow"), warning))

    def _failed(self, facts: Mapping[str, Any]) -> None:
        job = self.board.fail(facts["jobid"])
        if job is None or self._quiet.is_set():
            return
        said = job.errors()
        sentence = said[0] if said else job.silence()
        if sentence not in self._said:
            self._said.add(sentence)
            self._print(
                Text.assemble(
                    (f"{_clock()} ", "dim"),
                    ("failed ", "red"),
                    (job.label, "bold"),
                    f"  {sentence}",
                )
            )
            self._failure_last = bool(said)

    def _engine_error(self, facts: Mapping[str, Any]) -> None:
        text = str(facts.get("msg") or "")
        if facts.get("exception") == "WorkflowError":  # a sentence: where in our rules says nothing
            text = _WHERE.sub("", text)
        elif facts.get("exception") == "LockException" or _LOST_LOCK.search(text):
            text = one_run.refusal(Path(".snakemake"))
        elif found := _NO_RULE.search(text):
            text = sentences.no_target(found[1])
        self._engine_says(text)

    def _engine_says(self, text: str) -> None:
        """An error of Snakemake itself, unless it only repeats that a job failed."""
        text = text.strip()
        repeats = (
            "At least one job did not complete",
            "Exiting because a job",
            "CalledProcessError",
        )
        if self._quiet.is_set() or not text or any(said in text for said in repeats):
            return
        if self.board.failed and text.startswith(("RuleException", "Error in rule")):
            return
        self._print(Text(text, style="red"))

    def _progress(self, facts: Mapping[str, Any]) -> None:
        if facts["done"] == facts["total"]:
            self._end()

    _ACTS: Mapping[LogEvent, Callable[[LogHandler, Mapping[str, Any]], None]] = {
        LogEvent.RUN_INFO: _planned,
        LogEvent.JOB_INFO: _started,
        LogEvent.JOB_FINISHED: _finished,
        LogEvent.JOB_ERROR: _failed,
        LogEvent.ERROR: _engine_error,
        LogEvent.PROGRESS: _progress,
    }

    def _end(self) -> None:
        """All is done: what is recommended."""
        self._stop()
        if self.board.finished and {job.stage for job in self.board.finished} <= _MUTE:
            return
        for line in self._ending():
            self._print(Text(line, style="bold"))

    def repeat(self, failures: Sequence[str]) -> None:
        """Say again at the end, where people look, what went wrong; unless the run was stopped."""
        if self._quiet.is_set() or not failures:
            return
        self._stop()
        if len(failures) == 1 and self._failure_last:
            return  # it is the last line still
        self._print(Text("What failed in this run:", style="bold red"))
        for line in failures:
            self._print(Text(f"  {line}"))

    def note(self, sentence: str) -> None:
        """Something to know, while the run goes on."""
        self._print(Text.assemble(("note ", "yellow"), sentence))

    def stopped(self, sentence: str) -> None:
        """The last word: jobs that end now have been asked to."""
        self._quiet.set()
        self._stop()
        self._print(Text(sentence, style="bold"))

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _print(self, line: Text) -> None:
        self._failure_last = False
        self._console.print(line)

    def _draw(self) -> Group:
        board = self.board
        shown, waiting = board.at_work()
        lines = [_running(job, self._console.width) for job in shown]
        total = Text(f"{board.done} of {board.total} jobs done", style="dim")
        if board.failed:
            total.append(f", {board.failed} failed", style="red")
        if waiting:
            total.append(f", {waiting} wait for their turn", style="dim")
        return Group(*lines, total)

    def _keep_page(self) -> None:
        while not self._quiet.wait(PAGE_EVERY):
            self._write_page()

    def _write_page(self) -> None:
        """The status page; a fault there ends neither the bake nor what is shown of it."""
        jobs = [
            {"label": job.name, "stage": job.stage, "status": job.status(),
             "folder": str(job.output.parent) if job.output else ""}
            for job in self.board.running
        ]  # fmt: skip
        # here, since numpy costs every start of the engine 0.8 s
        from bakery.report import overview

        try:
            overview.write(Path(), jobs)
        except Exception as problem:
            logging.getLogger(__name__).debug("results/index.html: %s", problem)

    def _tell_now_and_then(self) -> None:
        while not self._quiet.wait(1):
            for job in self.board.at_work()[0]:
                since = self._told.setdefault(job.number, job.started)
                if time.time() - since >= EVERY:
                    self._told[job.number] = time.time()
                    self._print(Text(f"{_clock()} ") + _running(job, 10_000))


def _running(job: RunningJob, width: int) -> Text:
    """A job's live line, at most `width` characters."""
    width = max(20, width - 1)
    own = job.output.parent.name if job.output else ""
    words = progress(job.status(), own) or ("finishing" if job.heard else "starting")
    while len(job.label) + len(words) + 2 > width and ", " in words:
        words = words.rpartition(", ")[0]  # half a number would be misread
    line = Text.assemble((job.label, "bold cyan"), "  ", words)
    line.truncate(width, overflow="ellipsis")
    return line


def progress(status: Mapping[str, Any], own: str = "") -> str:
    """A status as words: `training epoch 2/4, 25/40, 9.99/s, 1:20 left, loss 0.0412`.

    `own` is the name of the job's folder: a job that helps another says whose work it does.
    """
    if not status:
        return ""
    parts = [str(status["doing"])]
    folders = status.get("folders", ())
    if folders and own and own not in folders:
        parts[0] += f" {keyed_folders.readable(folders[0])},"
    if "epoch" in status:
        parts[0] += f" epoch {status['epoch']}/{status['epochs']}"
    if status.get("of"):
        parts.append(f"{status['done']}/{status['of']}")
    if (rate := status.get("per_second")) and status["done"] < status["of"]:
        parts.append(f"{rate:.2f} it/s" if rate >= 1 else f"{1 / rate:.2f} s/it")
        parts.append(f"{clock(status['eta_seconds'])} left")
    if isinstance(status.get("loss"), float):
        parts.append(f"loss {status['loss']:.4f}")
    if len(folders) > 1:
        parts.append(f"{len(folders)} bakes side by side")
    if ending := len(status.get("ending", ())):
        of = f"{ending} of {len(folders)} " if len(folders) > 1 else ""
        parts.insert(1, f"{of}stopping after this epoch")
    return ", ".join(parts)


def recommendations(pages: Mapping[Path, Path]) -> list[str]:
    """For each finished page what it recommends, where things are, and what its bakes took.

    `pages`: folder of a page -> folder of its recommended LoRA.
    """
    lines = []
    for page, best in pages.items():
        if not (summary := summary_of(page)):
            continue
        lines += [sentences.line("compare", summary), f"  page: {page / 'index.html'}"]
        lines += [f"  LoRA: {file}" for file in sorted(best.glob("*.safetensors"))]
        lines += costs(page)
    return lines


def costs(page: Path) -> list[str]:
    """What the bakes of a finished page took: kept beside the results, and as lines."""
    from bakery.report import taken  # here, as above

    try:
        noted = taken.keep(Path(), page)
    except (OSError, BakeryError) as problem:  # no reason to call a finished bake failed
        return [f"  what it took could not be noted: {problem}"]
    return [f"  {said}" for said in (noted.line(), *noted.reasons)] if noted else []


def _took(job: RunningJob) -> str:
    return f"in {clock(time.time() - job.started)}"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
