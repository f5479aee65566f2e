"""Door of the dry bake: says what this config would bake, and bakes nothing."""

import os
from pathlib import Path

from bakery.jobs import leases
from bakery.jobs.job import LoggedJob
from bakery.stages import plan

with LoggedJob(snakemake, "plan"):  # noqa: F821
    text = plan.run(
        snakemake.params.bakes,  # noqa: F821
        out=Path(snakemake.params.out),  # noqa: F821
        trained=Path(snakemake.params.trained),  # noqa: F821
        has_gpu=leases.has_gpu(os.environ.get("CUDA_VISIBLE_DEVICES")),
        workers=snakemake.params.workers,  # noqa: F821
        configs=[Path(path) for path in snakemake.params.configs],  # noqa: F821
    )
    print(text, flush=True)
