# Pictures and their metadata from boorus (gallery-dl) and local folders.
# In:  the network, the embedded booru, local folders
# Out: results/scrape/<key>/ posts.csv (a line a post, failures included), images/


rule scrape:
    output:
        "results/scrape/{bake}/manifest.json",
    log:
        "logs/scrape/{bake}.log",
    conda:
        "../../envs/scrape.yaml"
    params:
        node=about("scrape"),
        booru=HOME / graph.EMBEDDED_BOORU,
        store="results/downloads",
    script:
        "../../scripts/scrape.py"
