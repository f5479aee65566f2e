"""Door of the tag stage."""

from pathlib import Path

from bakery.jobs.job import Job, device, leased_gpu
from bakery.stages import tag as stage
from bakery.vision import captioner, tagger

with Job(snakemake) as job, leased_gpu():  # noqa: F821
    job.finish(
        stage.run(
            job.settings,
            scrape=job.folder("scrape"),
            filter=job.folder("filter"),
            out=job.out,
            model=tagger.fetch(snakemake.params.model),  # noqa: F821
            threads=job.threads,
            captioner=captioner.named(
                job.settings,
                snakemake.params.captioner,  # noqa: F821
                cache=Path(snakemake.params.cache),  # noqa: F821
                device=device,
            ),
        )
    )
