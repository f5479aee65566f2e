# A run: where the library is, how many jobs work at a time, what is shown, how it begins and ends.
# In:  the command line, the machine
# Out: HOME, WORKERS, HAS_GPU, CONSOLE, FREE, RESUME

import functools
import logging
import os
import shlex
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser
from snakemake.exceptions import WorkflowError

# found from this file, so that workflow/Snakefile and module use work as well
HOME = Path(str(workflow.current_basedir)).parents[1]

if not (HOME / "scripts/bakery").is_dir():
    raise WorkflowError(
        "the rules need the library in scripts/, which a remote module does not bring along: clone the "
        "repository, and run it there or give the clone's workflow/Snakefile to your module"
    )

if sys.platform == "win32":
    raise WorkflowError(
        "LoRA Bakery does not run on Windows itself, but in WSL, GPU included: run `wsl --install` in "
        "a terminal, then clone and `make` inside of it (docs/install.md)"
    )

# Snakemake puts the path of its Python into command lines as it is, which a space would cut in two
sys.executable = shlex.quote(sys.executable)

sys.path.insert(0, str(HOME / "scripts"))

from bakery.console import handler, one_run, stopping
from bakery.io import machine_faults
from bakery.io.errors import BakeryError
from bakery.jobs import job, leases, resuming


class ConfigError(WorkflowError):
    """Bad input. Where in these rules it was noticed is left out: that is no help to the user."""

    __traceback__ = property(lambda error: None)


# How many of the jobs that use a GPU run at the same time. A job reads this file again, on a cluster
# where only its own cores and GPUs are seen: it is told by the run that started it.
if "gpu" not in workflow.global_resources:
    workflow.register_resource(
        "gpu",
        leases.jobs_at_once(
            os.environ.get("CUDA_VISIBLE_DEVICES"),
            None if workflow.remote_exec else workflow.resource_settings.cores,
        ),
    )
WORKERS = max(1, workflow.global_resources["gpu"].value)  # 0 asks for no GPU
if workflow.is_main_process:
    os.environ[leases.AT_ONCE] = str(WORKERS)
    workflow.register_envvars(leases.AT_ONCE)
elif leases.AT_ONCE in os.environ:
    WORKERS = int(os.environ[leases.AT_ONCE])

# Whether jobs find a GPU where they run; on a cluster they ask for one unless gpu=0.
HAS_GPU = (
    leases.has_gpu(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if workflow.remote_exec or workflow.resource_settings.cores
    else workflow.global_resources["gpu"].value > 0
)

# What is shown: by our own handler, unless another was asked for; jobs' processes show nothing.
CONSOLE = handler.attach(
    workflow, lambda *node: name_of(*node), lambda: recommendations()
)
if CONSOLE is not None:
    os.environ[job.CONSOLE] = "1"  # for the jobs that run here
if workflow.is_main_process:
    logging.raiseExceptions = (
        False  # a log on a full disk ends no bake and prints no traceback
    )
    # `clean` is what makes room
    if not workflow.output_settings.dryrun and "clean" not in sys.argv:
        try:
            machine_faults.check(Path())
        except BakeryError as error:
            raise ConfigError(str(error)) from None
    one_run.forget_the_dead(Path(".snakemake"))


def words(name):
    """What `--config name=a,b` lists on the command line; a config file has no such setting."""
    if name not in workflow.config_settings.config:
        return []
    asked = config.pop(name)
    return asked.replace(",", " ").split() if isinstance(asked, str) else list(asked)


# From the command line alone: a config that names them would free and resume at each call.
FREE = words("free")  # what `clean` may free
RESUME = words("resume")  # bakes that a person stopped, and that are to go on


def targets_of_job():
    """The nodes that a job on another machine makes: they are not known to the workflow yet."""
    given = get_argument_parser().parse_args(sys.argv[1:])
    return [job.wildcards_dict["bake"] for job in given.target_jobs]


def only_verifies():
    """Whether nothing but `verify` is to run. Targets are not known to the workflow yet."""
    if not {"verify", "verify:"} & set(sys.argv):
        return False
    given = get_argument_parser().parse_args(sys.argv[1:])
    jobs = {job.rulename for job in given.target_jobs or ()}
    return {*given.targets, *jobs} == {"verify"}


def resume_stopped():
    """Lets the bakes of RESUME go on."""
    if not RESUME or not workflow.is_main_process or workflow.output_settings.dryrun:
        return
    one_run.check(Path(".snakemake"))
    bakes = {node.baked.name: node.baked.readable for node in GRAPH.of("train")}
    for line in resuming.resume(Path("results"), bakes, RESUME):
        print(line, file=sys.stderr)


def note_costs():
    """What finished pages took, kept beside them; our handler does it itself, to show it."""
    if CONSOLE is None:
        for page in GRAPH.of("compare"):
            handler.costs(Path(page.folder))


def write_parts():
    """A job on another machine reads its part of the config, which is written here, and no file of it."""
    parts.write(GRAPH, config, workers(True), Path(os.environ[parts.PLACE]))
    workflow.config_settings.configfiles = []


def begin_run():
    """Nothing is to run twice at a time in one folder; the dry bake looks on."""
    if {job.rule.name for job in workflow.dag.needrun_jobs()} <= {"plan"}:
        return
    if on_cluster():
        write_parts()
    try:
        one_run.begin(Path(".snakemake"))
    except BakeryError as error:
        raise WorkflowError(str(error)) from None
    trained = Path("results/train")
    say = (
        CONSOLE.note
        if CONSOLE is not None
        else functools.partial(print, file=sys.stderr)
    )
    for line in stopping.forget_requests(trained):
        say(line)
    stopping.arm_for_epochs(trained, say)
    if workflow.local_exec:  # processes of a cluster's other machines are not seen here
        one_run.tidy(Path(".snakemake"), Path("results"), Path("logs"))
    if CONSOLE is not None:
        stopping.arm(lambda: CONSOLE.board.running, CONSOLE.stopped)


def log_times():
    """When each job's log was last written, by a clock that may be set back meanwhile."""
    return {log: log.stat().st_mtime_ns for log in sorted(Path("logs").glob("*/*.log"))}


def repeat_failures():
    """Say again at the end, where people look, what went wrong in this run; the same once."""
    logs = [log for log, changed in log_times().items() if BEFORE.get(log) != changed]
    said = [f"{log.parent.name}: {error}" for log in logs for error in job.errors(log)]
    if CONSOLE is not None:
        CONSOLE.repeat(list(dict.fromkeys(said)))
        return
    for line in dict.fromkeys(said):
        print(line, file=sys.stderr)


BEFORE = log_times() if workflow.is_main_process else {}  # of earlier runs


onstart:
    begin_run()


onsuccess:
    note_costs()


onerror:
    repeat_failures()
