"""Snakemake with a cloud's client that starts nothing: it writes down what it is asked for.

`python fake_cloud.py kubernetes asked.jsonl <arguments of snakemake>`. Each job is said to have failed,
so a run asks for all that can start, as often as its profile has retries, and ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Record:
    def __init__(self, file: Path) -> None:
        self.file, self.count = file, 0

    def add(self, what: str, body: Any) -> int:
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({what: body}) + "\n")
        self.count += 1
        return self.count


def kubernetes(record: Record) -> None:
    from kubernetes import client, config

    serialize = client.ApiClient().sanitize_for_serialization

    class Core:
        def create_namespaced_secret(self, namespace: str, body: Any) -> None:
            record.add("secret", serialize(body))

        def delete_namespaced_secret(self, *_: Any, **__: Any) -> None:
            pass

        def list_namespaced_pod(self, **_: Any) -> Any:
            return SimpleNamespace(items=[])

    class Batch:
        def create_namespaced_job(self, namespace: str, body: Any) -> None:
            record.add("job", serialize(body) | {"namespace": namespace})

        def read_namespaced_job_status(self, *_: Any) -> Any:
            return SimpleNamespace(status=SimpleNamespace(failed=1, succeeded=None))

    config.load_kube_config = lambda *_, **__: None
    client.CoreV1Api, client.BatchV1Api = Core, Batch


def aws_batch(record: Record) -> None:
    import boto3

    class Batch:
        def register_job_definition(self, **body: Any) -> dict[str, Any]:
            record.add("definition", body)
            return {"jobDefinitionName": body["jobDefinitionName"], "revision": 1}

        def submit_job(self, **body: Any) -> dict[str, Any]:
            number = record.add("job", body)
            return {"jobName": body["jobName"], "jobId": str(number)}

        def describe_jobs(self, jobs: list[str]) -> dict[str, Any]:
            return {"jobs": [{"status": "FAILED", "statusReason": "nothing runs here"}]}

        def terminate_job(self, **_: Any) -> None:
            pass

        def deregister_job_definition(self, **_: Any) -> None:
            pass

    boto3.client = lambda *_, **__: Batch()


CLOUDS = {"kubernetes": kubernetes, "aws-batch": aws_batch}


if __name__ == "__main__":
    cloud, file, *arguments = sys.argv[1:]
    CLOUDS[cloud](Record(Path(file).resolve()))
    from snakemake.cli import main

    sys.argv = ["snakemake", *arguments]
    main()
