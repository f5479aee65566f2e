# What can be freed, by size, `snakemake --cores 1 clean`: what none of the configs needs (those
# in config/, the config at hand, each file of --configfile) and what can be made again. Nothing is
# removed without a word: `--config free=epochs`. Not a stage: nothing depends on it.
# In:  the graph; results of all runs
# Out: results/clean/freed.csv (a line for each thing that was freed)


rule clean:
    log:
        "logs/clean/clean.log",
    conda:
        "../../envs/clean.yaml"
    params:
        needed=lambda wildcards: keeping.needed(GRAPH),
        given=given_configs,
        free=FREE,
        roots=[str(root) for root in ROOTS],
        out="results/clean",
    script:
        "../../scripts/clean.py"
