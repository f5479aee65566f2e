"""Door of the compare stage."""

from bakery import compare as stage
from bakery.doors import Job

with Job(snakemake) as job:  # noqa: F821
    bakes = [
        stage.Bake(train=train, sample=sample, score=score, **bake)
        for train, sample, score, bake in zip(
            job.folders("train"),
            job.folders("sample"),
            job.folders("score"),
            snakemake.params.bakes,  # noqa: F821
            strict=True,
        )
    ]
    job.finish(stage.run(job.settings, bakes=bakes, out=job.out, sweep=snakemake.params.sweep))  # noqa: F821
