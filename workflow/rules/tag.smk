# Describes each kept picture with the WD tagger.
# In:  results/scrape/<key>/, results/filter/<key>/, the tagger's ONNX model, the captioner if there is
#      one; results/cache/ (its sentences)
# Out: results/tag/<key>/ tags.csv (image, tag, category, probability), vocabulary.csv, tagger.json,
#      sentences.csv (image, sentence, source) with a captioner


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
        captioner=file("tag", "tag.captioner"),
        cache="results/cache",
    script:
        "../../scripts/tag.py"
