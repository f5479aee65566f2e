"""Door of the layout stage."""

from bakery.jobs.job import Job
from bakery.stages import layout as stage

with Job(snakemake) as job:  # noqa: F821
    job.finish(
        stage.run(
            job.settings,
            scrape=job.folder("scrape"),
            tag=job.folder("tag"),
            prune=job.folder("prune"),
            filter=job.folder("filter"),
            out=job.out,
            name=job.manifest_of("scrape")["settings"]["name"],
            edits=snakemake.params.edits,  # noqa: F821
        )
    )
