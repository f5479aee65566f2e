"""Door of the layout stage."""

from bakery import layout as stage
from bakery import manifest
from bakery.doors import Job

with Job(snakemake) as job:  # noqa: F821
    scrape = job.folder("scrape")
    name = manifest.read(scrape)["settings"]["name"]
    job.finish(
        stage.run(job.settings, scrape=scrape, prune=job.folder("prune"), out=job.out, name=name)
    )
