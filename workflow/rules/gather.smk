# LoRAs for the folder of an image generator, and texts for where they are published,
# `snakemake --cores all gather`: it bakes what is missing first. Not a stage: it runs at every call, and
# nothing depends on it.
# In:  results/compare/<key>/ of the chosen sweeps, and the bakes on these pages
# Out: results/gather/<dataset>/ LoRAs with sidecars and previews, Civitai's texts, a model card


rule gather:
    input:
        ancient([page["manifest"] for page in GATHERED]),
    log:
        "logs/gather/gather.log",
    conda:
        "../../envs/gather.yaml"
    params:
        settings=GATHER,
        pages=GATHERED,
        out="results/gather",
    script:
        "../../scripts/gather.py"
