# The graph: which nodes (runs of a stage) this config asks for, and how rules look them up.
# In:  config
# Out: GRAPH, and the functions that rules use for their inputs and params

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
from bakery.forecast import needs
from bakery.graph import build as graph
from bakery.graph import halving, keeping, summary
from bakery.io import machine_faults
from bakery.io.errors import BakeryError
from bakery.jobs import claims, job, leases, resuming
from bakery.settings import config as settings
from bakery.settings.scrape import EMBEDDED_BOORU


class ConfigError(WorkflowError):
    """Bad input. Where in these rules it was noticed is left out: that is no help to the user."""

    __traceback__ = property(lambda error: None)


wildcard_constraints:
    bake=r"[^/]+",


ROOTS = (Path.cwd(), HOME)

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


def only_verifies():
    """Whether nothing but `verify` is to run. Targets are not known to the workflow yet."""
    if not {"verify", "verify:"} & set(sys.argv):
        return False
    given = get_argument_parser().parse_args(sys.argv[1:])
    jobs = {job.rulename for job in given.target_jobs or ()}
    return {*given.targets, *jobs} == {"verify"}


try:
    # no config is needed for it: what one names may be on another machine, or gone
    if only_verifies():
        CONFIG, GRAPH = settings.Config(), graph.empty()
    else:
        CONFIG = settings.load(config)
        GRAPH = graph.build(CONFIG, ROOTS)
    GATHERED = summary.gathered_pages(GRAPH, CONFIG.gather)
except BakeryError as error:
    raise ConfigError(str(error)) from None

if RESUME and workflow.is_main_process and not workflow.output_settings.dryrun:
    try:
        one_run.check(Path(".snakemake"))
        bakes = {node.baked.name: node.baked.readable for node in GRAPH.of("train")}
        for line in resuming.resume(Path("results"), bakes, RESUME):
            print(line, file=sys.stderr)
    except BakeryError as error:
        raise ConfigError(str(error)) from None

GATHER = CONFIG.gather.model_dump(mode="json")


def threads(stage):
    """What is left of the cores for each job of `stage` when as many run as can; at most 8."""
    at_once = 1 if workflow.remote_exec else min(WORKERS, max(1, len(GRAPH.of(stage))))
    cores = workflow.resource_settings.cores  # None on a cluster
    return 8 if cores is None else max(1, min(8, cores // at_once))


def above(stage, upstream):
    """Input function: the manifest of `upstream` that `stage`'s node {bake} depends on."""
    return lambda wildcards: GRAPH.node(stage, wildcards.bake).above(upstream).manifest


def gathered(upstream, stage="compare"):
    """Input function: the manifests of `upstream` of every bake on the page {bake}."""
    return lambda wildcards: [
        leaf.above(upstream).manifest
        for leaf in GRAPH.node(stage, wildcards.bake).parents
    ]


def rung_inputs(stage):
    """Input function: with halving, what else the rung {bake} of `stage` depends on."""
    return lambda wildcards: halving.inputs(GRAPH.node(stage, wildcards.bake))


def rung(stage):
    """Params function: with halving, which rung of a bake {bake} is."""
    return lambda wildcards: halving.facts(GRAPH.node(stage, wildcards.bake))


def contenders(wildcards):
    """Params function: the bakes that the verdict {bake} ranks."""
    return halving.contenders(GRAPH.node("halve", wildcards.bake))


def about(stage):
    """Params function: the node's key and settings, for the door and the manifest."""
    return lambda wildcards: GRAPH.node(stage, wildcards.bake).about()


def file(stage, setting):
    """Params function: the path of what `stage`'s node names by `setting`; a hub id as it is written.

    None where the setting is empty.
    """
    return lambda wildcards: graph.file_of(
        GRAPH.node(stage, wildcards.bake), setting, ROOTS
    )


def files(stage, setting):
    """Params function: the same of a setting that is a list."""
    return lambda wildcards: graph.files_of(
        GRAPH.node(stage, wildcards.bake), setting, ROOTS
    )


def edits(stage):
    """Params function: the hand edits that `stage`'s node uses, name -> path."""
    return lambda wildcards: graph.edits_of(GRAPH.node(stage, wildcards.bake), ROOTS)


def dataset(stage):
    """Params function: the name of the dataset that `stage`'s node works on."""
    return lambda wildcards: graph.dataset_of(GRAPH.node(stage, wildcards.bake))


def train_group(wildcards):
    """Params function: folder -> facts of the bakes that may be trained side by side with {bake}."""
    return {
        node.baked.folder: node.baked.about()
        for node in GRAPH.group(GRAPH.node("train", wildcards.bake))
    }


def drawn_meanwhile(wildcards):
    """Params function: what may be drawn as epochs of {bake} and its group are saved, and with what."""
    bake = GRAPH.node("train", wildcards.bake)
    samples = summary.drawn_meanwhile(GRAPH, bake)
    names = {"base": "train.base", "tagger": "tag.model"}
    tools = {
        name: graph.file_of(bake, setting, ROOTS) for name, setting in names.items()
    }
    return {"samples": samples, **tools} if samples else {}


def share(stage):
    """Group function: on a cluster, the jobs of one share of a sweep are one job of the scheduler, in
    which they run one after the other: none holds a node while a sibling works for it.
    """

    def group(wildcards):
        if (
            workflow.remote_exec
            or workflow.executor_plugin is None
            or workflow.local_exec
        ):
            return None
        bake = GRAPH.node(stage, wildcards.bake).above("train")
        shares = claims.deal(GRAPH.group(bake), WORKERS, bake.settings.side_by_side)
        name = next(f"share-{share[0].name}" for share in shares if bake in share)
        # bakes do not depend on each other: `group-components: share=...` of the profile joins them
        workflow.parent_groupids[name] = "share"
        return name

    return group


def asks(stage, what):
    """Resources function: what a job of `stage` asks a scheduler for (`forecast/needs.py`)."""

    def asked(wildcards, attempt):
        node = GRAPH.node(stage, wildcards.bake)
        if stage == "tag":
            return getattr(needs.looking(needs.PICTURES).times(attempt), what)
        bake = needs.Bake(
            train=node.above("train").settings,
            base=graph.file_of(node, "train.base", ROOTS),
            layout=Path(node.above("layout").folder),
            trained=Path("results/train"),
            has_gpu=HAS_GPU,
        )
        if stage == "train":
            need = bake.training()
        elif stage == "sample":
            need = bake.drawing(node.settings)
        else:
            need = needs.looking(bake.samples)
        return getattr(need.times(attempt), what)

    return asked


def mirrors(wildcards):
    """Params function: with halving, folder -> where what is drawn of its bake is kept."""
    return {
        node.folder: node.baked.folder
        for node in GRAPH.group(GRAPH.node("sample", wildcards.bake))
        if node.rung is not None
    }


def sample_group(wildcards):
    """Params function: folder -> LoRAs' folder of the bakes that may be drawn along with {bake}."""
    return {
        node.folder: node.above("train").folder
        for node in GRAPH.group(GRAPH.node("sample", wildcards.bake))
    }


def bakes_of_page(wildcards):
    """Params function: label and settings of every bake on the page {bake}, in input order."""
    return summary.bakes_of(GRAPH.node("compare", wildcards.bake))


def given_configs(wildcards):
    """Params function: whose results `clean` keeps: files of --configfile; those of them that may be
    incomplete; all in config/."""
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    beside = [str(path) for path in sorted(Path("config").glob("*.y*ml"))]
    return files, files, beside


def planned_bakes(wildcards):
    """What the dry bake needs to know of every bake."""
    return summary.planned_bakes(GRAPH, ROOTS)


def name_of(stage, key):
    """What the terminal calls the node of `stage` with this {bake}; a verdict or page by its folder."""
    nodes = GRAPH.nodes.get(stage, {})
    return nodes[key].readable if key in nodes else key


def recommendations():
    """What this config's finished pages recommend."""
    pages = {Path(page.folder): Path(page.best) for page in GRAPH.of("compare")}
    return handler.recommendations(pages)


def note_costs():
    """What finished pages took, kept beside them; our handler does it itself, to show it."""
    if CONSOLE is None:
        for page in GRAPH.of("compare"):
            handler.costs(Path(page.folder))


def begin_run():
    """Nothing is to run twice at a time in one folder; the dry bake looks on."""
    if {job.rule.name for job in workflow.dag.needrun_jobs()} <= {"plan"}:
        return
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
        one_run.tidy(Path(".snakemake"), Path("results"))
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
