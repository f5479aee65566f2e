# Successive halving: ranks the bakes of a sweep after a rung, and decides which continue. It uses only
# the scores.
# In:  results/{train,score}/<key>/ of every bake of the sweep, of that rung
# Out: results/halve/<key>/ the verdict, in its manifest


rule halve:
    input:
        train=ancient(gathered("train", "halve")),
        score=ancient(gathered("score", "halve")),
    output:
        "results/halve/{bake}/manifest.json",
    log:
        "logs/halve/{bake}.log",
    conda:
        "../../envs/halve.yaml"
    params:
        node=about("halve"),
        bakes=contenders,
    script:
        "../../scripts/halve.py"
