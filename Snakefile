"""LoRA Bakery: from a booru search to the best LoRA, with the evidence.

scrape > filter > tag > prune > layout > train > sample > score > compare
"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/config.smk"
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
