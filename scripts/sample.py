"""Door of the sample stage."""

from importlib import import_module
from pathlib import Path

from bakery.jobs import claims, rungs
from bakery.jobs.job import Job, device, leased_gpu

with Job(snakemake) as job:  # noqa: F821
    params = snakemake.params  # noqa: F821
    bakes = {Path(folder): Path(train) for folder, train in params.group.items()}
    trained = job.manifest_of("train")["settings"]
    job.finish(
        rungs.carried(job.manifest_of("train"), params.rung, job.out)
        or claims.ensure_finished(
            job.out,
            claims.deal(list(bakes), params.workers, len(bakes)),
            ready=lambda folder: rungs.is_new(bakes[folder]),  # only what is trained can be drawn
            # imported late, as in train; first claims, then a GPU
            work=leased_gpu()(
                lambda folders: (
                    import_module("bakery.stages.sample")
                    .SampleStage(
                        settings=job.settings,
                        prune=job.folder("prune"),
                        base=params.base,
                        clip_skip=trained["clip_skip"],
                        mixed_precision=trained["mixed_precision"],
                        v_parameterization=trained.get("v_parameterization"),
                        zero_terminal_snr=trained.get("zero_terminal_snr"),
                        device=device(),
                        threads=job.threads,
                        tagger=import_module("bakery.vision.tagger").fetch(params.model),
                    )
                    .draw_claimed({folder: bakes[folder] for folder in folders}, params.mirrors)
                )
            ),
        )
    )
