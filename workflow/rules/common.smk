# The graph: which nodes (runs of a stage) this config asks for, and how rules look them up.
# In:  config, PARTS
# Out: GRAPH, and the functions that rules use for their inputs, params and resources

import functools
import os
from pathlib import Path

from bakery.forecast import history, needs
from bakery.graph import build as graph
from bakery.graph import halving, keeping, parts, summary
from bakery.io.errors import BakeryError
from bakery.jobs import claims
from bakery.settings import config as settings
from bakery.settings.scrape import EMBEDDED_BOORU


wildcard_constraints:
    bake=r"[^/]+",


ROOTS = (Path.cwd(), HOME)

# taken now: jobs elsewhere are given no files, as `write_parts` empties the list (run.smk)
CONFIG_FILES = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
PART = None

try:
    if PARTS:
        PART = parts.read(Path(PARTS), targets_of_job())
        config.clear()
        config.update(PART.config)
    # no config is needed for it: what one names may be on another machine, or gone
    if only_verifies():
        CONFIG, GRAPH = settings.Config(), graph.empty()
    else:
        CONFIG = settings.load(config)
        GRAPH = graph.build(CONFIG, ROOTS)
    GATHERED = summary.gathered_pages(GRAPH, CONFIG.gather)
    resume_stopped()
except BakeryError as error:
    raise ConfigError(str(error)) from None

# the main process does not know yet whether its jobs will run elsewhere
if workflow.is_main_process:
    at = parts.folder_of(config, WORKERS, Path(".snakemake/parts"))
    os.environ[parts.PLACE] = str(at)
    workflow.register_envvars(parts.PLACE)

# What finished bakes took, for what jobs ask for.
FINISHED = history.Finished(Path("results/train"), seconds=60)

GATHER = CONFIG.gather.model_dump(mode="json")


def threads(stage):
    """What is left of the cores for each job of `stage` when as many run as can; at most 8."""
    at_once = 1 if workflow.remote_exec else min(WORKERS, max(1, len(GRAPH.of(stage))))
    cores = workflow.resource_settings.cores  # None on a cluster
    return 8 if cores is None else max(1, min(8, cores // at_once))


@functools.cache
def workers(remote):
    """Among how many processes a group of bakes is shared. On a cluster groups are baked at the same
    time, and the fewer processes a group is for, the more of its bakes are trained side by side.
    """
    if PART is not None:
        return PART.workers
    return -(-WORKERS // GRAPH.groups_at_once()) if remote else WORKERS


def workers_of_group(wildcards):
    """Params function: among how many processes the group of {bake} is shared."""
    return workers(on_cluster())


def on_cluster():
    """Whether this run sends jobs to other machines. The executor is not known while rules are read."""
    return (
        workflow.is_main_process
        and workflow.executor_plugin is not None
        and not workflow.local_exec
    )


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
        if not on_cluster():
            return None
        bake = GRAPH.node(stage, wildcards.bake).above("train")
        shares = claims.deal(
            GRAPH.group(bake), workers(True), bake.settings.side_by_side
        )
        name = next(f"share-{share[0].key}" for share in shares if bake in share)
        # bakes do not depend on each other: `group-components: share=...` of the profile joins them
        workflow.parent_groupids[name] = "share"
        return name

    return group


@functools.cache
def need(stage, name, attempt):
    """What the job of `stage` that makes `name` needs (`forecast/needs.py`); the engine asks for one
    resource at a time, and keeps it until the next attempt.
    """
    node = GRAPH.node(stage, name)
    if stage == "tag":
        tagging, settings = needs.looking(needs.PICTURES), node.settings
        if place := graph.file_of(node, "tag.captioner", ROOTS):
            tokens, kept = settings.captioner_tokens, Path(node.above("filter").folder)
            tagging = needs.Captioning(place, tokens, kept, HAS_GPU).beside(tagging)
        return tagging.times(attempt)
    bake = needs.Bake(
        train=node.above("train").settings,
        base=graph.file_of(node, "train.base", ROOTS),
        layout=Path(node.above("layout").folder),
        finished=FINISHED,
        has_gpu=HAS_GPU,
    )
    if stage == "train":
        found = bake.training()
    elif stage == "sample":
        found = bake.drawing(node.settings)
    else:
        found = needs.looking(bake.samples)
    return found.times(attempt)


def asks(stage, what):
    """Resources function: what a job of `stage` asks a scheduler for; once it runs, it has asked."""

    def asked(wildcards, attempt):
        if not workflow.is_main_process:
            return 1
        return getattr(need(stage, wildcards.bake, attempt), what)

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
    beside = [str(path) for path in sorted(Path("config").glob("*.y*ml"))]
    return CONFIG_FILES, CONFIG_FILES, beside


def planned_bakes(wildcards):
    """What the dry bake needs to know of every bake."""
    bakes = summary.planned_bakes(GRAPH, ROOTS)
    return [bake | {"gathered_to": GATHER["to"]} for bake in bakes]


def name_of(stage, key):
    """What the terminal calls the node of `stage` with this {bake}; a verdict or page by its folder."""
    nodes = GRAPH.nodes.get(stage, {})
    return nodes[key].readable if key in nodes else key


def recommendations():
    """What this config's finished pages recommend."""
    pages = {Path(page.folder): Path(page.best) for page in GRAPH.of("compare")}
    return handler.recommendations(pages)
