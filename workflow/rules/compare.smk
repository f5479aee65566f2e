# One self-contained page a sweep: which bake, which epoch, and why; and that epoch's LoRA, set apart.
# In:  results/<stage>/<key>/ of every bake of the sweep, and those that compare.with names
# Out: results/compare/<key>/ index.html, report.html (the same, small enough for a report), results.csv,
#      grid.jpg (all bakes, epochs and prompts as one picture);
#      results/best/<sweep>/ the recommended LoRA with sidecar and preview


rule compare:
    input:
        scrape=ancient(gathered("scrape")),
        filter=ancient(gathered("filter")),
        tag=ancient(gathered("tag")),
        prune=ancient(gathered("prune")),
        layout=ancient(gathered("layout")),
        train=ancient(gathered("train")),
        sample=ancient(gathered("sample")),
        score=ancient(gathered("score")),
    output:
        "results/compare/{bake}/manifest.json",
        "results/compare/{bake}/index.html",
        "results/compare/{bake}/grid.jpg",
        report(
            "results/compare/{bake}/report.html",
            category="Comparison",
            labels={"sweep": "{bake}"},
            caption="../report/compare.rst",
        ),
    log:
        "logs/compare/{bake}.log",
    conda:
        "../../envs/compare.yaml"
    params:
        node=about("compare"),
        bakes=bakes_of_page,
        sweep=lambda wildcards: PLAN.node("compare", wildcards.bake).readable,
    script:
        "../../scripts/compare.py"


# The LoRA lies outside of keys, under a name that people keep. What is asked for carries the page's
# key and takes the place of the page before, so going back to an old config brings back its LoRA.
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
        "../../envs/compare.yaml"
    params:
        node=about("compare"),
        bakes=bakes_of_page,
    script:
        "../../scripts/best.py"
