# The recommended LoRA of a sweep, copied with sidecar and preview. Its folder has no key, so its name
# stays the same. The target carries the page's key and replaces the previous one, so going back to an
# old config brings back its LoRA.
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
