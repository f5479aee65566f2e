"""Door of the layout stage."""

from bakery.io import manifest
from bakery.jobs.job import Job
from bakery.stages import layout as stage

with Job(snakemake) as job:  # noqa: F821
    scrape = job.folder("scrape")
    job.finish(
        stage.run(
            job.settings,
            scrape=scrape,
            tag=job.folder("tag"),
            prune=job.folder("prune"),
            filter=job.folder("filter"),
            out=job.out,
            name=manifest.read(scrape)["settings"]["name"],
            edits=snakemake.params.edits,  # noqa: F821
        )
    )
