"""Door of the tag stage."""

from bakery import tag as stage
from bakery import tagger
from bakery.doors import Job, leased_gpu

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
