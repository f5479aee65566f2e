# Takes out of the captions what the trigger word is to absorb.
# In:  results/filter/<key>/, results/tag/<key>/
# Out: results/prune/<key>/ prune.csv (each tag's decision and reason), captions.csv, trigger.json


rule prune:
    input:
        filter=ancient(above("prune", "filter")),
        tag=ancient(above("prune", "tag")),
    output:
        "results/prune/{bake}/manifest.json",
    log:
        "logs/prune/{bake}.log",
    conda:
        "../../envs/prune.yaml"
    params:
        node=about("prune"),
    script:
        "../../scripts/prune.py"
