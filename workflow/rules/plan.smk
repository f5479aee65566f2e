# The dry bake, `snakemake --cores all plan`: what this config would bake, in seconds and without GPU.
# Not a stage: it runs at every call, with whatever results exist, and nothing depends on it.
# In:  the graph; results of earlier runs
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
        workers=WORKERS,
        configs=[str(path) for path in workflow.configfiles],
    script:
        "../../scripts/plan.py"
