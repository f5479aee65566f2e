"""Door of the tag stage."""

from bakery.jobs.job import Job, leased_gpu
from bakery.stages import tag as stage
from bakery.vision import tagger

with Job(snakemake) as job, leased_gpu():  # noqa: F821
    job.finish(
        stage.run(
            job.settings,
            scrape=job.folder("scrape"),
            filter=job.folder("filter"),
            out=job.out,
            model=tagger.fetch(snakemake.params.model),  # noqa: F821
            threads=job.threads,
        )
    )
