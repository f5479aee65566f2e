# Removes from the captions the tags that the trigger word should absorb.
# In:  results/scrape/<key>/, results/filter/<key>/, results/tag/<key>/, config/edits/<dataset>/tags.csv
# Out: results/prune/<key>/ prune.csv and prune.html (each tag's evidence, decision and reason),
#      outfits.csv, captions.csv, trigger.json


rule prune:
    input:
        scrape=ancient(above("prune", "scrape")),
        filter=ancient(above("prune", "filter")),
        tag=ancient(above("prune", "tag")),
    output:
        "results/prune/{bake}/manifest.json",
        report(
            "results/prune/{bake}/prune.html",
            category="Tags",
            labels={"dataset": "{bake}"},
            caption="../report/prune.rst",
        ),
    log:
        "logs/prune/{bake}.log",
    conda:
        "../../envs/prune.yaml"
    params:
        node=about("prune"),
        edits=edits("prune"),
        dataset=lambda wildcards: GRAPH.node("prune", wildcards.bake).readable,
    script:
        "../../scripts/prune.py"
