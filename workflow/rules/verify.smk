# Whether results are as they were made, `snakemake --cores 1 verify`: each file is held against what was
# recorded of it. It ends with an error if one is damaged or missing. Not a stage: it runs at every call,
# nothing depends on it, and what the config names need not be there.
# In:  results of all runs
# Out: results/verify/verify.csv (a line for each finding, with what makes the file again)


rule verify:
    log:
        "logs/verify/verify.log",
    conda:
        "../../envs/verify.yaml"
    params:
        results="results",
        out="results/verify",
    script:
        "../../scripts/verify.py"
