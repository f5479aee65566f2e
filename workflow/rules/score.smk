# What the tagger sees in the samples: fidelity, flexibility, leak, bleed ... of each epoch.
# In:  results/{sample,layout,prune,tag,scrape}/<key>/ (of layout, what is held out), ONNX models
# Out: results/score/<key>/ epochs.csv, cells.csv, scores.csv (a line an epoch, cell, picture),
#      weights.csv, draws.csv (the bootstrap), tags.csv, details.csv (what the samples miss);
#      docs/scores.md explains them


rule score:
    input:
        scrape=ancient(above("score", "scrape")),
        tag=ancient(above("score", "tag")),
        prune=ancient(above("score", "prune")),
        layout=ancient(above("score", "layout")),
        sample=ancient(above("score", "sample")),
        rung=ancient(rung_inputs("score")),
    output:
        "results/score/{bake}/manifest.json",
    log:
        "logs/score/{bake}.log",
    benchmark:
        "logs/score/{bake}.benchmark.tsv"
    group:
        share("score")
    conda:
        "../../envs/score.yaml"
    threads: threads("score")
    resources:
        gpu=1,
        turn=1,
        mem_mb=asks("score", "mem_mb"),
        runtime=asks("score", "runtime"),
        disk_mb=asks("score", "disk_mb"),
    params:
        node=about("score"),
        rung=rung("score"),
        model=file("score", "tag.model"),
        embedding=file("score", "score.embedding_model"),
        likeness=file("score", "score.likeness_model"),
    script:
        "../../scripts/score.py"
