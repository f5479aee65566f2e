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
    conda:
        "../../envs/filter.yaml"
    params:
        node=about("filter"),
    script:
        "../../scripts/filter.py"
