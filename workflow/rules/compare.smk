# One self-contained page per sweep: which bake, which epoch, and why.
# In:  results/<stage>/<key>/ of every bake of the sweep, and those that compare.with names
# Out: results/compare/<key>/ index.html, report.html (the same, small enough for a report), results.csv,
#      grid.jpg (all bakes, epochs and prompts as one picture)


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
        sweep=lambda wildcards: GRAPH.node("compare", wildcards.bake).readable,
    script:
        "../../scripts/compare.py"
