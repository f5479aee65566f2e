# The bake. A job trains its whole share of the sweep side by side, each bake in its own folder; their own
# jobs find the work done (scripts/bakery/jobs/claims.py).
# In:  results/layout/<key>/, the base model, regularization pictures; results/cache/ (latents, text)
# Out: results/train/<key>/ a kohya LoRA per epoch, epochs.csv, progress.jsonl, validation.csv
#      where pictures are held out


rule train:
    input:
        scrape=ancient(above("train", "scrape")),
        prune=ancient(above("train", "prune")),
        layout=ancient(above("train", "layout")),
        rung=ancient(rung_inputs("train")),
    output:
        "results/train/{bake}/manifest.json",
    log:
        "logs/train/{bake}.log",
    benchmark:
        "logs/train/{bake}.benchmark.tsv"
    # before sampling, so that trained bakes are drawn together
    priority: 1
    group:
        share("train")
    conda:
        "../../envs/train.yaml"
    threads: threads("train")
    resources:
        gpu=1,
        turn=1,
        mem_mb=asks("train", "mem_mb"),
        runtime=asks("train", "runtime"),
        disk_mb=asks("train", "disk_mb"),
    params:
        node=about("train"),
        rung=rung("train"),
        base=file("train", "train.base"),
        reg=file("train", "train.reg_data_dir"),
        pictures=drawn_meanwhile,
        cache="results/cache",
        group=train_group,
        workers=workers_of_group,
    script:
        "../../scripts/train.py"
