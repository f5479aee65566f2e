"""Door of the score stage."""

from bakery.jobs import rungs
from bakery.jobs.job import Job, leased_gpu
from bakery.stages import score as stage
from bakery.vision import characters, tagger

with Job(snakemake) as job, leased_gpu():  # noqa: F821
    job.finish(
        rungs.carried(job.manifest_of("sample"), snakemake.params.rung, job.out)  # noqa: F821
        or stage.run(
            job.settings,
            stage.InputFolders(
                **{
                    name: job.folder(name)
                    for name in ("sample", "prune", "tag", "scrape", "layout")
                }
            ),
            out=job.out,
            model=tagger.fetch(snakemake.params.model),  # noqa: F821
            embedding=snakemake.params.embedding,  # noqa: F821
            likeness_model=characters.fetch(snakemake.params.likeness)  # noqa: F821
            if snakemake.params.likeness  # noqa: F821
            else None,
            threads=job.threads,
        )
    )
