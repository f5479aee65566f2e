"""Door of the score stage."""

from bakery.jobs import rungs
from bakery.jobs.job import Job, leased_gpu
from bakery.stages import score as stage
from bakery.vision import tagger

with Job(snakemake) as job, leased_gpu():  # noqa: F821
    job.finish(
        rungs.carried(job.folder("sample"), snakemake.params.rung, job.out)  # noqa: F821
        or stage.run(
            job.settings,
            sample=job.folder("sample"),
            prune=job.folder("prune"),
            tag=job.folder("tag"),
            scrape=job.folder("scrape"),
            out=job.out,
            model=tagger.fetch(snakemake.params.model),  # noqa: F821
            embedding=snakemake.params.embedding,  # noqa: F821
            threads=job.threads,
        )
    )
