# The recommended LoRA of a sweep, linked with sidecar and preview. Its folder has no key: it belongs to
# the dataset and the sweep. The target carries the page's key and replaces the previous one, so going
# back to an old config brings back its LoRA.
# In:  results/compare/<key>/, and the bakes on that page
# Out: results/best/<dataset>/<sweep>/ the LoRA with sidecar and preview, and from-<page>.json


rule best:
    input:
        compare=ancient("results/compare/{bake}/manifest.json"),
    output:
        "results/best/{dataset}/{sweep}/from-{bake}.json",
    log:
        "logs/best/{dataset}.{sweep}.{bake}.log",
    wildcard_constraints:
        dataset=r"[^/]+",
        sweep=r"[^/]+",
    conda:
        "../../envs/best.yaml"
    params:
        node=about("compare"),
        bakes=bakes_of_page,
    script:
        "../../scripts/best.py"
