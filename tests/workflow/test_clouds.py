"""The jobs of a sweep of 4 in 2 shares on Kubernetes and AWS Batch, as their plugins write them.

No cluster is asked: `fake_cloud.py` stands in for its client. Where a plugin is missing, only what its
profile says is read.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_base import tiny_sd1
from tiny_tagger import tiny_tagger

from bakery.graph import build, parts
from bakery.settings import config as cfg
from tests.workflow import test_workflow as little_world

ROOT = Path(__file__).parents[2]
RATES = [1e-3, 2e-3, 5e-3, 1e-2]
LIGHT = ("scrape", "filter", "tag", "prune", "layout")
PATH = "/bakery"
CLOUDS = ("kubernetes", "aws-batch")
MODULES = {"kubernetes": ["kubernetes"], "aws-batch": ["boto3"]}


def missing(cloud: str) -> list[str]:
    plugin = f"snakemake_executor_plugin_{cloud.replace('-', '_')}"
    return [name for name in (plugin, *MODULES[cloud]) if find_spec(name) is None]


def profile(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text("utf-8"))


def cluster() -> dict[str, dict[str, Any]]:
    text = (ROOT / "profiles/kubernetes/cluster.yaml").read_text("utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_works_as_the_cluster_does_but_for_what_is_its_own(name: str) -> None:
    cloud, slurm = profile(name), profile("slurm")
    for setting in ("resources", "set-resource-scopes", "group-components", "jobs", "retries"):
        assert cloud[setting] == slurm[setting]
    assert cloud["executor"] == name
    stages = [entry.partition("=")[0] for entry in slurm["set-threads"]]
    assert [entry.partition("=")[0] for entry in cloud["set-threads"]] == stages
    # without these a job would look for its inputs in a store of objects
    assert {"input-output", "persistence", "sources"} <= set(cloud["shared-fs-usage"])
    (patch,) = cloud["__definitions__"]
    assert "implies_no_shared_fs = False" in patch
    assert f'get("{name}")' in patch
    assert cloud["precommand"].endswith(f"cd {PATH}"), "where the clone is"


def test_all_pods_have_the_volume_where_the_profile_says_the_clone_is() -> None:
    claim, pod = cluster()["PersistentVolumeClaim"], cluster()["Pod"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (given,) = profile("kubernetes")["kubernetes-persistent-volumes"]
    assert given == f"{claim['metadata']['name']}:{PATH}"
    (container,) = pod["spec"]["containers"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [PATH]
    assert container["image"] == profile("kubernetes")["container-image"]
    (volume,) = pod["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_run_may_do_what_the_plugin_asks_for() -> None:
    allowed = {
        (resource, verb)
        for rule in cluster()["Role"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed >= {
        ("jobs", "create"), ("jobs", "delete"), ("jobs/status", "get"), ("pods", "list"),
        ("pods", "delete"), ("pods/log", "get"), ("secrets", "create"), ("secrets", "delete"),
    }  # fmt: skip


def test_the_image_has_what_a_clone_installs() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = re.findall(r"^COPY (.+) /build/$", text, re.MULTILINE)
    assert copied == ["Makefile requirements.txt requirements-gpu.txt"]
    assert re.search(r"^TORCH := torch==", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "-r /build/others.txt -r /build/requirements-gpu.txt" in text


def sweep_of_four(workdir: Path) -> Path:
    """A working directory in which everything up to the layouts is done."""
    models = workdir.parent / "made"
    tiny_sd1(models / "base")
    tiny_tagger(models / "tagger", little_world.TAGS)
    workdir.mkdir()
    little_world.furnish(workdir, models)
    raw = little_world.little()
    raw["sweeps"]["unet_lr"]["grid"]["train.unet_lr"] = RATES
    little_world.write_config(workdir, raw)
    config = yaml.safe_load((workdir / "config.yaml").read_text("utf-8"))
    graph = build.build(cfg.load(config), [workdir, ROOT])
    for path in (workdir / file for stage in LIGHT for n in graph.of(stage) for file in n.wanted):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return workdir


def asked(cloud: str, workdir: Path) -> dict[str, list[dict[str, Any]]]:
    """What the plugin asked the cloud for, by kind."""
    if lacking := missing(cloud):
        pytest.skip(f"not installed: {', '.join(lacking)}")
    record = workdir.parent / "asked.jsonl"
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("fake_cloud.py"), cloud, record,
         "--snakefile", ROOT / "Snakefile", "--directory", sweep_of_four(workdir),
         "--configfile", workdir / "config.yaml", "--profile", ROOT / "profiles" / cloud,
         "--workflow-profile", ROOT / "profiles/default", "--resources", "gpu=2", "turn=1",
         "--seconds-between-status-checks", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in record.read_text("utf-8").splitlines():
        ((kind, body),) = json.loads(line).items()
        found.setdefault(kind, []).append(body)
    return found


def baked_by(command: str) -> list[tuple[str, str]]:
    """Stage and bake of all that a job does."""
    return sorted(re.findall(r"'(train|sample|score):bake=(\S+?)-\w{12}'", command))


def check_commands(commands: list[str], workdir: Path) -> None:
    """Two shares with the three jobs of two bakes each; both are tried three times."""
    bakes = [baked_by(command) for command in commands]
    tried = Counter(tuple(sorted({name for _, name in one})) for one in bakes)
    assert tried == {
        ("little-lr0.001", "little-lr0.005"): 3, ("little-lr0.002", "little-lr0.01"): 3,
    }  # fmt: skip
    assert all(len(one) == 6 for one in bakes)
    for command in commands:
        assert f"cd {PATH} && python -m snakemake --snakefile '{ROOT / 'Snakefile'}'" in command
        assert "--configfile" not in command, "it reads its part"
        assert "--default-storage" not in command
        assert "pip install" not in command
        assert "--mode 'remote'" in command


def check_part(place: str, workdir: Path, commands: list[str]) -> None:
    names = re.findall(r"'train:bake=(\S+?)'", commands[0])
    assert parts.read(workdir / place, names).workers == 2


def test_jobs_on_kubernetes(tmp_path: Path) -> None:
    workdir = tmp_path / "bake"
    found = asked("kubernetes", workdir)
    pods = [job["spec"]["template"]["spec"] for job in found["job"]]
    containers = [pod["containers"][0] for pod in pods]
    commands = [container["args"][1] for container in containers]
    check_commands(commands, workdir)
    for pod, container in zip(pods, containers, strict=True):
        limits = container["resources"]["limits"]
        assert limits["nvidia.com/gpu"] == "1", "one GPU, although two bakes share the pod"
        assert limits["cpu"] == "4000m"
        assert {"name": "lora-bakery", "mountPath": PATH} in container["volumeMounts"]
        claims = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
        assert {"claimName": "lora-bakery"} in claims
        assert container["image"] == profile("kubernetes")["container-image"]
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    shares = sorted(zip(map(baked_by, commands), range(6), containers, strict=True))
    # each by itself: one may be told of its failure, and try again, before the other
    for attempts in (shares[:3], shares[3:]):
        limits = [container["resources"]["limits"] for _, _, container in attempts]
        memory = [int(limit["memory"][:-1]) for limit in limits]
        assert memory == [n * memory[0] for n in (1, 2, 3)], "each attempt asks for more"
        disk = [int(limit["ephemeral-storage"][:-1]) for limit in limits]
        assert disk[0] < disk[1] < disk[2]
    (secret,) = found["secret"]
    # an installed storage plugin adds its own settings, whatever the workflow uses
    ours = {name for name in secret["data"] if not name.startswith("snakemake_storage_")}
    assert ours == {"bakery_parts", "bakery_jobs_at_once"}
    names = {one["valueFrom"]["secretKeyRef"]["name"] for one in containers[0]["env"]}
    assert names == {secret["metadata"]["name"]}


def test_jobs_on_aws_batch(tmp_path: Path) -> None:
    workdir = tmp_path / "bake"
    found = asked("aws-batch", workdir)
    containers = [one["containerProperties"] for one in found["definition"]]
    commands = [container["command"][2] for container in containers]
    check_commands(commands, workdir)
    for container in containers:
        needs = {one["type"]: one["value"] for one in container["resourceRequirements"]}
        assert needs == {"VCPU": "8", "MEMORY": "28672", "GPU": "1"}
        assert container["privileged"], "it mounts the file system"
        assert container["image"] == profile("aws-batch")["container-image"]
    given = {one["name"]: one["value"] for one in containers[0]["environment"]}
    assert given["BAKERY_JOBS_AT_ONCE"] == "2"
    check_part(given["BAKERY_PARTS"], workdir, commands)
    for definition, job in zip(found["definition"], found["job"], strict=True):
        for name in (definition["jobDefinitionName"], job["jobName"]):
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name), "all that AWS takes as a name"
        assert job["jobQueue"] == profile("aws-batch")["aws-batch-job-queue"]
        assert definition["timeout"] == {"attemptDurationSeconds": 86400}
