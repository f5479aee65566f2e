# Describes each kept picture with the WD tagger.
# In:  results/scrape/<key>/, results/filter/<key>/, the tagger's ONNX model
# Out: results/tag/<key>/ tags.csv (image, tag, category, probability), vocabulary.csv,
#      tagger.json


rule tag:
    input:
        scrape=ancient(above("tag", "scrape")),
        filter=ancient(above("tag", "filter")),
    output:
        "results/tag/{bake}/manifest.json",
    log:
        "logs/tag/{bake}.log",
    benchmark:
        "logs/tag/{bake}.benchmark.tsv"
    conda:
        "../../envs/tag.yaml"
    threads: threads("tag")
    resources:
        gpu=1,
        mem_mb=asks("tag", "mem_mb"),
        runtime=asks("tag", "runtime"),
        disk_mb=asks("tag", "disk_mb"),
    params:
        node=about("tag"),
        model=file("tag", "tag.model"),
    script:
        "../../scripts/tag.py"
