"""Door of the rule that lists what can be freed, and frees it when asked."""

from pathlib import Path

from bakery.jobs.job import LoggedJob
from bakery.stages import clean

with LoggedJob(snakemake, "clean"):  # noqa: F821
    given = snakemake.params.given  # noqa: F821
    text = clean.run(
        clean.Given(snakemake.params.needed, *([Path(p) for p in paths] for paths in given)),  # noqa: F821
        roots=[Path(root) for root in snakemake.params.roots],  # noqa: F821
        out=Path(snakemake.params.out),  # noqa: F821
        free=snakemake.params.free,  # noqa: F821
    )
    print(text, flush=True)
