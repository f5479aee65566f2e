"""LoRA Bakery: from a booru search to the best LoRA, with the evidence.

scrape > filter > tag > prune > layout > train > sample > score > compare
"""

import os
from snakemake.utils import min_version

min_version("9.0")


# --configfile replaces all of the shipped example, and so does what a job elsewhere reads (common.smk)
if not workflow.overwrite_configfiles and (
    workflow.is_main_process or not os.path.isdir(os.environ.get("BAKERY_PARTS", ""))
):

    configfile: "config/config.yaml"


include: "workflow/rules/run.smk"
include: "workflow/rules/common.smk"


localrules:
    all,
    scrape,
    filter,
    prune,
    layout,
    halve,
    compare,
    best,
    plan,
    gather,
    clean,
    verify,


rule all:
    default_target: True
    input:
        [
            file
            for stage in GRAPH.nodes
            for node in GRAPH.of(stage)
            for file in node.wanted
        ],


include: "workflow/rules/scrape.smk"
include: "workflow/rules/filter.smk"
include: "workflow/rules/tag.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/layout.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/halve.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/best.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/gather.smk"
include: "workflow/rules/clean.smk"
include: "workflow/rules/verify.smk"
