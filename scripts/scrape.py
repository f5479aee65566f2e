"""Door of the scrape stage."""

from pathlib import Path

from bakery.jobs.job import Job
from bakery.stages import scrape as stage

with Job(snakemake) as job:  # noqa: F821
    params = snakemake.params  # noqa: F821
    job.finish(
        stage.run(job.settings, booru=Path(params.booru), out=job.out, store=Path(params.store))
    )
