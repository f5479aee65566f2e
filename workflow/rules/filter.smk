# Throws out what a bake must not eat, with a reason for each picture.
# In:  results/scrape/<key>/
# Out: results/filter/<key>/ decisions.csv, contact_sheet.jpg


rule filter:
    input:
        scrape=ancient(above("filter", "scrape")),
    output:
        "results/filter/{bake}/manifest.json",
    log:
        "logs/filter/{bake}.log",
    params:
        node=about("filter"),
    conda:
        "../../envs/filter.yaml"
    script:
        "../../scripts/filter.py"
