"""Door of the sample stage."""

from bakery import manifest, tagger
from bakery import sample as stage
from bakery.doors import Job, device

with Job(snakemake) as job:  # noqa: F821
    train = job.folder("train")
    bake = manifest.read(train)["settings"]
    job.finish(
        stage.run(
            job.settings,
            train=train,
            prune=job.folder("prune"),
            out=job.out,
            base=snakemake.params.base,  # noqa: F821
            clip_skip=bake["clip_skip"],
            mixed_precision=bake["mixed_precision"],
            v_parameterization=bake.get("v_parameterization"),
            zero_terminal_snr=bake.get("zero_terminal_snr"),
            device=device(),
            threads=job.threads,
            tagger=tagger.fetch(snakemake.params.model),  # noqa: F821
        )
    )
