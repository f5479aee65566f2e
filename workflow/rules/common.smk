# The graph: which nodes (runs of a stage) this config asks for, and how rules look them up.
# In:  config
# Out: GRAPH, and the functions that rules use for their inputs and params

import os
import shlex
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

# found from this file, so that workflow/Snakefile and module use work as well
HOME = Path(str(workflow.current_basedir)).parents[1]
STARTED = time.time()

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
from bakery.graph import build as graph
from bakery.graph import halving, keeping, summary
from bakery.io.errors import BakeryError
from bakery.jobs import job, leases
from bakery.settings import config as settings
from bakery.settings.scrape import EMBEDDED_BOORU


class ConfigError(WorkflowError):
    """Bad input. Where in these rules it was noticed is left out: that is no help to the user."""

    __traceback__ = property(lambda error: None)


wildcard_constraints:
    bake=r"[^/]+",


ROOTS = (Path.cwd(), HOME)

# How many of the jobs that use a GPU run at the same time. A job on a cluster reads this file again,
# and sees only its own cores and GPUs: these do not show how many such jobs there are.
if "gpu" not in workflow.global_resources:
    workflow.register_resource(
        "gpu",
        leases.jobs_at_once(
            os.environ.get("CUDA_VISIBLE_DEVICES"),
            None if workflow.remote_exec else workflow.resource_settings.cores,
        ),
    )
WORKERS = max(1, workflow.global_resources["gpu"].value)  # 0 asks for no GPU

# What is shown: by our own handler, unless another was asked for; jobs' processes show nothing.
CONSOLE = handler.attach(
    workflow, lambda *node: name_of(*node), lambda: recommendations()
)
if CONSOLE is not None:
    os.environ[job.CONSOLE] = "1"  # for the jobs that run here
if workflow.is_main_process:
    one_run.forget_the_dead(Path(".snakemake"))

# What `clean` may free, from the command line alone: a config that names it would free at each call.
FREE = []
if "free" in workflow.config_settings.config:
    asked = config.pop("free")
    FREE = asked.replace(",", " ").split() if isinstance(asked, str) else list(asked)

try:
    CONFIG = settings.load(config)
    GRAPH = graph.build(CONFIG, ROOTS)
    GATHERED = summary.gathered_pages(GRAPH, CONFIG.gather)
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
    if CONSOLE is not None:
        stopping.arm(lambda: CONSOLE.board.running, CONSOLE.stopped)


def repeat_failures():
    """Say again at the end, where people look, what went wrong in this run; the same once."""
    logs = [
        log
        for log in sorted(Path("logs").glob("*/*.log"))
        if log.stat().st_mtime >= STARTED
    ]
    said = [f"{log.parent.name}: {error}" for log in logs for error in job.errors(log)]
    if CONSOLE is not None:
        CONSOLE.repeat(list(dict.fromkeys(said)))
        return
    for line in dict.fromkeys(said):
        print(line, file=sys.stderr)


onstart:
    begin_run()


onsuccess:
    note_costs()


onerror:
    repeat_failures()
