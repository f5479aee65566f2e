# Describes each kept picture with the WD tagger.
# In:  results/scrape/<key>/, results/filter/<key>/, the tagger's ONNX model
# Out: results/tag/<key>/ tags.csv (image, tag, category, probability), tagger.json


rule tag:
    input:
        scrape=ancient(above("tag", "scrape")),
        filter=ancient(above("tag", "filter")),
    output:
        "results/tag/{bake}/manifest.json",
    log:
        "logs/tag/{bake}.log",
    params:
        node=about("tag"),
        model=model("tag", "tag.model"),
    threads: 8
    resources:
        gpu=1,
    conda:
        "../../envs/tag.yaml"
    script:
        "../../scripts/tag.py"
