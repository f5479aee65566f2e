# The recommended LoRA of a sweep, set apart with sidecar and preview. It lies outside of keys, under a
# name that people keep. What is asked for carries the page's key and takes the place of the page
# before, so going back to an old config brings back its LoRA.
# In:  results/compare/<key>/, and the bakes on that page
# Out: results/best/<sweep>/ the LoRA with sidecar and preview, and from-<page>.json


rule best:
    input:
        compare=ancient("results/compare/{bake}/manifest.json"),
    output:
        "results/best/{sweep}/from-{bake}.json",
    log:
        "logs/best/{sweep}.{bake}.log",
    wildcard_constraints:
        sweep=r"[^/]+",
    conda:
        "../../envs/best.yaml"
    params:
        node=about("compare"),
        bakes=bakes_of_page,
    script:
        "../../scripts/best.py"
