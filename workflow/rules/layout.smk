# kohya's repeat folder, as sd-scripts would load it.
# In:  results/scrape/<key>/, results/prune/<key>/
# Out: results/layout/<key>/ <repeats>_<name>/ (pictures and captions), layout.csv


rule layout:
    input:
        scrape=ancient(above("layout", "scrape")),
        prune=ancient(above("layout", "prune")),
    output:
        "results/layout/{bake}/manifest.json",
    log:
        "logs/layout/{bake}.log",
    conda:
        "../../envs/layout.yaml"
    params:
        node=about("layout"),
    script:
        "../../scripts/layout.py"
