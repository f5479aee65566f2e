# Every epoch draws every prompt from the same noise; the base without LoRA is the first row. A job draws
# the trained bakes of its share of the sweep, each in its own folder; their own jobs find the work done.
# In:  results/train/<key>/, results/prune/<key>/, the base model, the tagger's vocabulary
# Out: results/sample/<key>/ images/, prompts.csv (what is asked and why), samples.csv, grid.png


rule sample:
    input:
        prune=ancient(above("sample", "prune")),
        train=ancient(above("sample", "train")),
        rung=ancient(rung_inputs("sample")),
    output:
        "results/sample/{bake}/manifest.json",
        report(
            "results/sample/{bake}/grid.png",
            category="Grids",
            labels={"bake": "{bake}"},
            caption="../report/grid.rst",
        ),
    log:
        "logs/sample/{bake}.log",
    benchmark:
        "logs/sample/{bake}.benchmark.tsv"
    group:
        share("sample")
    conda:
        "../../envs/sample.yaml"
    threads: threads("sample")
    resources:
        gpu=1,
        turn=1,
        mem_mb=asks("sample", "mem_mb"),
        runtime=asks("sample", "runtime"),
        disk_mb=asks("sample", "disk_mb"),
    params:
        node=about("sample"),
        rung=rung("sample"),
        base=file("sample", "train.base"),
        model=file("sample", "tag.model"),
        group=sample_group,
        mirrors=mirrors,
        workers=workers_of_group,
    script:
        "../../scripts/sample.py"
