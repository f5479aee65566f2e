"""Door of the rule that says whether results are as they were made."""

from pathlib import Path

from bakery.io.errors import BakeryError
from bakery.jobs.job import LoggedJob
from bakery.stages import verify

with LoggedJob(snakemake, "verify"):  # noqa: F821
    text, refusal = verify.run(
        Path(snakemake.params.results),  # noqa: F821
        out=Path(snakemake.params.out),  # noqa: F821
    )
    print(text, flush=True)
    if refusal:
        raise BakeryError(refusal)
