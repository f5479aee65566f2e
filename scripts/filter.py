"""Door of the filter stage."""

from bakery import filter as stage
from bakery.doors import Job

with Job(snakemake) as job:  # noqa: F821
    job.finish(stage.run(job.settings, scrape=job.folder("scrape"), out=job.out))
