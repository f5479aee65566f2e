"""Door of the prune stage."""

from bakery import prune as stage
from bakery.doors import Job

with Job(snakemake) as job:  # noqa: F821
    job.finish(
        stage.run(job.settings, filter=job.folder("filter"), tag=job.folder("tag"), out=job.out)
    )
