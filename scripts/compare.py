"""Door of the compare stage."""

from bakery.jobs.job import Job
from bakery.report.results import trusted
from bakery.stages import compare as stage

with Job(snakemake) as job:  # noqa: F821
    bakes = trusted(snakemake.params.bakes)  # noqa: F821
    job.finish(stage.run(job.settings, bakes=bakes, out=job.out, sweep=snakemake.params.sweep))  # noqa: F821
