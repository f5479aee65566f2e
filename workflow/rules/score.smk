# What the tagger sees in the samples: fidelity and flexibility of each epoch.
# In:  results/sample/<key>/, results/prune/<key>/, results/tag/<key>/, the tagger's ONNX model
# Out: results/score/<key>/ scores.csv (a line a picture), epochs.csv (a line an epoch), tags.csv,
#      details.csv (what the samples miss)


rule score:
    input:
        tag=ancient(above("score", "tag")),
        prune=ancient(above("score", "prune")),
        sample=ancient(above("score", "sample")),
    output:
        "results/score/{bake}/manifest.json",
    log:
        "logs/score/{bake}.log",
    conda:
        "../../envs/score.yaml"
    threads: 8
    resources:
        gpu=1,
    params:
        node=about("score"),
        model=model("score", "tag.model"),
    script:
        "../../scripts/score.py"
