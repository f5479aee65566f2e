# Drops pictures that should not be trained on, with a reason for each.
# In:  results/scrape/<key>/, config/edits/<dataset>/exclude.txt and include.txt
# Out: results/filter/<key>/ decisions.csv, contact_sheet.html and .jpg (written even when nothing is
#      kept, and therefore no outputs: those of a failed job are deleted)


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
        dataset=dataset("filter"),
        edits=edits("filter"),
        models=files("filter", "filter.models"),
    script:
        "../../scripts/filter.py"
