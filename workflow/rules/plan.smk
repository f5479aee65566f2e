# The dry bake, `snakemake --cores all plan`: what this config would bake, in seconds and without GPU.
# No stage: it is made anew at every call, from whatever is there, and nothing stands on it.
# In:  the graph; what earlier runs left in results/
# Out: results/plan/ plan.csv (a line a bake), index.html


rule plan:
    log:
        "logs/plan/plan.log",
    conda:
        "../../envs/plan.yaml"
    params:
        bakes=planned_bakes,
        out="results/plan",
        trained="results/train",
    script:
        "../../scripts/plan.py"
