# The bake.
# In:  results/layout/<key>/, the base model, regularization pictures; results/cache/ (latents, text)
# Out: results/train/<key>/ a kohya LoRA per epoch, epochs.csv, progress.jsonl


rule train:
    input:
        scrape=ancient(above("train", "scrape")),
        prune=ancient(above("train", "prune")),
        layout=ancient(above("train", "layout")),
    output:
        "results/train/{bake}/manifest.json",
    log:
        "logs/train/{bake}.log",
    conda:
        "../../envs/train.yaml"
    threads: 8
    resources:
        gpu=1,
    params:
        node=about("train"),
        base=model("train", "train.base"),
        reg=pictures("train", "train.reg_data_dir"),
        cache="results/cache",
    script:
        "../../scripts/train.py"
