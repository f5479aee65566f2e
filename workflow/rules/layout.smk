# kohya's repeat folders, as sd-scripts would load them.
# In:  results/{scrape,filter,tag,prune}/<key>/ (of filter, the boxes that it found), captions,
#      captions.csv and boxes.csv of the dataset's edits, local regularization pictures
# Out: results/layout/<key>/ <repeats>_<name>/ (pictures and captions), reg/, holdout/, layout.csv,
#      captions.html (every caption with its picture, to be edited)


rule layout:
    input:
        scrape=ancient(above("layout", "scrape")),
        filter=ancient(above("layout", "filter")),
        tag=ancient(above("layout", "tag")),
        prune=ancient(above("layout", "prune")),
    output:
        "results/layout/{bake}/manifest.json",
        "results/layout/{bake}/captions.html",
    log:
        "logs/layout/{bake}.log",
    conda:
        "../../envs/layout.yaml"
    params:
        node=about("layout"),
        edits=edits("layout"),
    script:
        "../../scripts/layout.py"
