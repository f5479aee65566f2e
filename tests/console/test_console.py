"""What a terminal shows of a run, from Snakemake's own records and real manifests."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

from bakery.console import handler, sentences, stopping
from bakery.console.board import Board, RunningJob
from bakery.io import manifest, status


def record(event: LogEvent | None = None, message: str = "", level: int = logging.INFO, **facts):
    made = logging.LogRecord("snakemake", level, "", 0, message, (), None)
    made.__dict__.update(facts, **({"event": event} if event else {}))
    return made


def job_info(number: int, stage: str, bake: str) -> logging.LogRecord:
    return record(
        LogEvent.JOB_INFO,
        jobid=number,
        rule_name=stage,
        wildcards={"bake": bake},
        log=[f"logs/{stage}/{bake}.log"],
        output=[f"results/{stage}/{bake}/manifest.json"],
    )


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """A handler that writes into `shown.text()`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(stdout=False, nocolor=True)
    made = handler.LogHandler(settings, None)
    stream = io.StringIO()
    made._console = Console(file=stream, width=200, soft_wrap=True)
    made.watch(Board(lambda stage, key: key.rpartition("-")[0]), lambda: ["take this one"])
    yield SimpleNamespace(handler=made, text=stream.getvalue)
    made.close()


def finish(folder: Path, summary: dict) -> None:
    folder.mkdir(parents=True)
    (folder / manifest.NAME).write_text(json.dumps({"summary": summary}))


def log_of(stage: str, bake: str, text: str) -> None:
    log = Path("logs", stage, f"{bake}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)


def test_a_finished_stage_is_a_line_with_its_counts(shown):
    shown.handler.emit(record(LogEvent.RUN_INFO, stats={"filter": 1, "all": 1, "total": 2}))
    shown.handler.emit(job_info(1, "filter", "mirael-abc"))
    finish(
        Path("results/filter/mirael-abc"),
        {
            "images": 42,
            "kept": 33,
            "reasons": {"duplicate": 3, "too_small": 6},
            "warnings": ["look"],
        },
    )
    shown.handler.emit(record(LogEvent.JOB_FINISHED, job_id=1))
    assert "1 job to do" in shown.text()
    assert "done filter mirael" in shown.text()
    assert "33 of 42 kept; left out: 6 too small, 3 duplicate" in shown.text()
    assert "note look" in shown.text()


def test_a_warning_of_several_bakes_is_said_once(shown):
    for number, bake in enumerate(("a-1", "b-2")):
        shown.handler.emit(job_info(number, "score", bake))
        finish(Path("results/score", bake), {"samples": 3, "warnings": ["a trait is missed"]})
        shown.handler.emit(record(LogEvent.JOB_FINISHED, job_id=number))
    assert shown.text().count("a trait is missed") == 1


def test_a_failed_job_gives_its_sentence_and_no_more(shown):
    log_of("train", "m-1", "2026-11-29 03:00:00,000 ERROR the loss is nan: lower the rates\n")
    shown.handler.emit(job_info(1, "train", "m-1"))
    shown.handler.emit(record(LogEvent.JOB_ERROR, jobid=1))
    shown.handler.emit(
        record(message="At least one job did not complete successfully.", level=logging.ERROR)
    )
    said = shown.text().splitlines()
    assert len(said) == 1
    assert "failed train m  the loss is nan: lower the rates" in said[0]


def test_a_single_failure_is_not_repeated_right_below(shown):
    log_of("train", "m-1", "2026-11-29 03:00:00,000 ERROR the loss is nan: lower the rates\n")
    shown.handler.emit(job_info(1, "train", "m-1"))
    shown.handler.emit(record(LogEvent.JOB_ERROR, jobid=1))
    shown.handler.repeat(["train: the loss is nan: lower the rates"])
    assert shown.text().count("the loss is nan") == 1
    shown.handler.emit(record(message="cannot read x", level=logging.ERROR))
    shown.handler.repeat(["train: the loss is nan: lower the rates"])
    assert shown.text().count("the loss is nan") == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("celan", "celan is neither a command nor a file that can be made here; did you mean clean?"),
        ("config/suzu.yaml", "config/suzu.yaml is taken for a file to make: a config is given as "
                             "--configfile config/suzu.yaml"),
        ("x/y.png", "x/y.png is neither a command nor a file that can be made here: known are all, "
                    "plan, gather, clean, verify"),
    ],
)  # fmt: skip
def test_a_mistyped_command_is_a_sentence(shown, asked, said):
    text = (
        f"MissingRuleException:\nNo rule to produce {asked} (if you use input functions make sure)"
    )
    shown.handler.emit(
        record(LogEvent.ERROR, exception="MissingRuleException", msg=text, level=logging.ERROR)
    )
    assert shown.text().strip() == said


def test_a_killed_job_points_to_its_log(shown):
    log_of("train", "m-1", "2026-11-29 03:00:00,000 INFO beginning\n")
    shown.handler.emit(job_info(1, "train", "m-1"))
    shown.handler.emit(record(LogEvent.JOB_ERROR, jobid=1))
    assert "out of memory" in shown.text()
    assert "logs/train/m-1.log" in shown.text()


def test_a_config_error_is_its_sentence_without_places_in_our_rules(shown):
    text = (
        'WorkflowError in file "/x/common.smk", line 54:\nconfig: no such key\n  File "/x", line 54'
    )
    shown.handler.emit(
        record(LogEvent.ERROR, exception="WorkflowError", msg=text, level=logging.ERROR)
    )
    assert shown.text().strip() == "config: no such key"


def test_a_fault_of_ours_keeps_its_place(shown):
    text = 'NameError in file "/x/common.smk", line 5:\nname x is not defined'
    shown.handler.emit(record(LogEvent.ERROR, exception="NameError", msg=text, level=logging.ERROR))
    assert "line 5" in shown.text()


@pytest.mark.parametrize(
    "last",
    [
        lambda: record(LogEvent.PROGRESS, done=1, total=1),
        lambda: record(message="Nothing to be done (all requested files are present)."),
    ],
)
def test_the_last_word_is_the_recommendation(shown, last):
    shown.handler.emit(last())
    assert shown.text().rstrip().endswith("take this one")


def test_stopped_is_the_last_word(shown):
    shown.handler.emit(job_info(1, "train", "m-1"))
    shown.handler.stopped("Stopped.")
    shown.handler.emit(record(LogEvent.JOB_ERROR, jobid=1))
    assert shown.text() == "Stopped.\n"


def test_live_lines_show_what_each_job_says(shown):
    shown.handler.emit(job_info(1, "train", "m-1"))
    log_of("train", "m-1", "")
    where = status.beside(Path("logs/train/m-1.log"))
    where.write_text(
        json.dumps(
            {"doing": "training", "done": 25, "of": 40, "epoch": 3, "epochs": 4,
             "per_second": 9.99, "eta_seconds": 80.2, "loss": 0.0412,
             "folders": ["m-1", "m-2", "m-3"]}
        )
    )  # fmt: skip
    with shown.handler._console.capture() as drawn:
        shown.handler._console.print(shown.handler._draw())
    assert (
        "train m  training epoch 3/4, 25/40, 9.99 it/s, 1:20 left, loss 0.0412, 3 bakes side by side"
        in drawn.get()
    )


def says(job: RunningJob, **said) -> None:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    status.beside(job.log).write_text(json.dumps({"doing": "training", **said}))


def test_a_live_line_leaves_out_what_does_not_fit(tmp_path):
    job = RunningJob(1, "train", "m", tmp_path / "m.log", None)
    says(job, done=25, of=40, epoch=3, epochs=4, per_second=9.99, eta_seconds=80.2, loss=0.0412)
    whole = "train m  training epoch 3/4, 25/40, 9.99 it/s, 1:20 left, loss 0.0412"
    for width in range(40, 90):
        line = handler._running(job, width).plain
        assert len(line) < width
        assert whole == line or whole.startswith(f"{line}, ")
    assert handler._running(job, len(whole) + 1).plain == whole
    assert handler._running(job, 24).plain == "train m  training epoc…"


def test_a_job_that_helps_says_whose_work_it_does(tmp_path):
    output = tmp_path / "results/train/m-lr1-0a1b2c/manifest.json"
    job = RunningJob(1, "train", "m-lr1", tmp_path / "m.log", output)
    says(job, done=6, of=9, epoch=1, epochs=2, folders=["m-lr1-0a1b2c", "m-lr2-0d"])
    own = "train m-lr1  training epoch 1/2, 6/9, 2 bakes side by side"
    assert handler._running(job, 80).plain == own
    says(job, done=6, of=9, epoch=1, epochs=2, folders=["m-lr2-0d"])
    assert handler._running(job, 80).plain == "train m-lr1  training m-lr2, epoch 1/2, 6/9"


def test_a_live_line_forgets_a_killed_run_and_knows_the_end_from_the_beginning(tmp_path):
    job = RunningJob(1, "train", "m", tmp_path / "m.log", None)
    says(job, done=60, of=90)
    killed = status.beside(job.log).stat().st_mtime
    job.started = killed + 1
    assert handler._running(job, 80).plain == "train m  starting"
    os.utime(status.beside(job.log), (killed + 2, killed + 2))
    assert handler._running(job, 80).plain == "train m  training, 60/90"
    status.beside(job.log).unlink()
    assert handler._running(job, 80).plain == "train m  finishing"


def test_what_a_job_says_at_once_is_of_this_run(tmp_path):
    """The clock of files ticks some hundred times a second: its time may be of before the start."""
    job = RunningJob(1, "train", "m", tmp_path / "m.log", None, started=1e9)
    says(job, done=1, of=9)
    os.utime(status.beside(job.log), (1e9 - 0.004, 1e9 - 0.004))
    assert job.status()


def test_captions_of_ones_own_are_said_to_be_kept():
    summary = {"pruned": [], "kept": 44, "own_captions": 30}
    assert sentences.line("prune", summary) == (
        "30 captions of your own kept; the trigger is in front"
    )
    summary["pruned"] = ["halo", "pink hair"]
    assert "own kept, without halo, pink hair;" in sentences.line("prune", summary)
    del summary["own_captions"]
    assert sentences.line("prune", summary).startswith("the trigger absorbs halo, pink hair; 44")


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("unet_lr 0.002, epoch 3", "the best is unet_lr 0.002, epoch 3 (score 0.79)"),
        ("Epoch 3", "the best is unet_lr 0.002, epoch 3 (score 0.79)"),
        ("No epoch beats the base",
         "No epoch beats the base; the best of them is unet_lr 0.002, epoch 3 (score 0.79)"),
    ],
)  # fmt: skip
def test_the_verdict_is_said_once(verdict, said):
    best = {"best_bake": "unet_lr 0.002", "best_epoch": 3, "best_score": 0.7912}
    assert sentences.line("compare", {"verdict": verdict, **best}) == said
    assert sentences.line("compare", {"verdict": "No verdict"}) == "No verdict"


def test_stopping_names_the_epoch_to_resume_from(tmp_path):
    log = tmp_path / "m.log"
    status.beside(log).write_text(json.dumps({"doing": "training", "epoch": 6, "epochs": 10}))
    job = RunningJob(1, "train", "m-lr0.001", log, None)
    assert stopping.sentence([job]).endswith("it resumes train m-lr0.001 after epoch 5")
    assert "what is finished stays" in stopping.sentence([])


def test_a_lock_that_another_run_took_away_is_no_traceback(shown):
    lost = "[Errno 2] No such file or directory: '/suzu/.snakemake/locks/0.input.lock'"
    trace = f'Traceback (most recent call last):\n\n  File "api.py", line 1\n\nFileNotFoundError: {lost}'
    facts = {"exception": "FileNotFoundError", "msg": trace}
    shown.handler.emit(record(LogEvent.ERROR, **facts))
    assert shown.text().startswith("another run is at work in this folder")
    assert "Traceback" not in shown.text()
    facts["msg"] = trace.replace("locks/0.input.lock", "metadata/x")
    shown.handler.emit(record(LogEvent.ERROR, **facts))
    assert "Traceback" in shown.text(), "any other missing file is a bug"


CLOSED = """
import os, signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
from bakery.console import stopping
job = subprocess.Popen(["sleep", "600"])
def say(sentence):
    raise OSError(5, "Input/output error")
stopping.arm(lambda: (), say)
try:
    os.kill(os.getpid(), signal.SIGHUP)
except KeyboardInterrupt:
    print(job.wait())
"""


def test_a_closed_terminal_ends_the_jobs_although_nothing_can_be_said():
    ran = subprocess.run(
        [sys.executable, "-c", CLOSED, Path(handler.__file__).parents[2]],
        capture_output=True, text=True, check=True, timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip
    assert int(ran.stdout) == -signal.SIGTERM


@pytest.mark.parametrize("stage", ["scrape", "filter", "tag", "prune", "layout", "train", "sample"])
def test_every_stage_has_a_sentence(stage):
    assert stage in sentences._SAID


def test_a_status_is_kept_up_to_date_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "PACE", 0.0)
    path = tmp_path / "x.status.json"
    status.write_to(path)
    for _ in status.each([1, 2, 3], "counting"):
        last = status.read(path)
    assert (last["doing"], last["done"], last["of"]) == ("counting", 2, 3)
    assert status.read(path)["done"] == 3
    status.write_to(None)
    assert not path.exists()
    assert status.read(path) == {}
    status.tell("without a file", 1, 2)  # nothing happens


def test_how_a_bake_is_ended_early_is_told_and_that_it_ends(shown):
    shown.handler.emit(record(LogEvent.RUN_INFO, stats={"train": 2, "total": 2}))
    shown.handler.close()
    assert shown.text().count("touch results/train/<bake>/stop-after-epoch") == 1
    said = {"doing": "training", "done": 3, "of": 9, "epoch": 1, "epochs": 3,
            "folders": ["m-1", "m-2"]}  # fmt: skip
    assert handler.progress(said | {"ending": ["m-1"]}).startswith(
        "training epoch 1/3, 1 of 2 stopping after this epoch, 3/9"
    )
    assert ", stopping after this epoch," in handler.progress(
        said | {"folders": ["m-1"], "ending": ["m-1"]}
    )


def test_a_signal_asks_for_all_and_what_a_run_leaves_is_removed_and_said(tmp_path):
    said = []
    before = signal.getsignal(signal.SIGUSR1)
    try:
        stopping.arm_for_epochs(tmp_path / "train", said.append)
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert said == ["every bake that is training now ends after the epoch it is in"]
    (line,) = stopping.forget_requests(tmp_path / "train")
    assert "stop-after-epoch is from an earlier run" in line
    assert stopping.forget_requests(tmp_path / "train") == []
    assert stopping.forget_requests(tmp_path / "none") == []


def test_a_stopped_bake_is_not_told_as_a_whole_one():
    summary = {"epochs": [{"loss": 0.1}] * 6, "steps": 60,
               "stopped": {"sentence": "stopped by you after epoch 6 of 10"}}  # fmt: skip
    line = sentences.line("train", summary)
    assert line == "6 epochs, 60 steps, loss 0.1000; stopped by you after epoch 6 of 10"
