# One self-contained page a sweep: which bake, which epoch, and why.
# In:  results/{train,sample,score}/<key>/ of every bake of the sweep
# Out: results/compare/<key>/ index.html, results.csv


rule compare:
    input:
        train=ancient(gathered("train")),
        sample=ancient(gathered("sample")),
        score=ancient(gathered("score")),
    output:
        "results/compare/{bake}/manifest.json",
        report(
            "results/compare/{bake}/index.html",
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
