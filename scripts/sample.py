"""Door of the sample stage."""

from bakery import manifest
from bakery import sample as stage
from bakery.doors import Job, device

with Job(snakemake) as job:  # noqa: F821
    train = job.folder("train")
    job.finish(
        stage.run(
            job.settings,
            train=train,
            prune=job.folder("prune"),
            out=job.out,
            base=snakemake.params.base,  # noqa: F821
            clip_skip=manifest.read(train)["settings"]["clip_skip"],
            device=device(),
            threads=job.threads,
        )
    )
