"""Launch scripts of sd-scripts: what a shell would hand to it, read without running it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bakery.interop import kohya_import
from bakery.interop.readers import launch_script, shell_words
from bakery.interop.readers.shell_script import ScriptReader
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg

BASH = """#!/bin/bash
# how yuzu was trained
model="models/base.safetensors"   # the base
folder='sets/yuzu v2'
dim=24
optimizer="Lion"
module=lycoris.kohya
alpha=${ALPHA:-12}
use_reg=0
reg="sets/reg"
extra=()
script="./sd-scripts/train_network.py"
kind=${KIND:-xl}
if [ $kind == "xl" ]; then
  script="./sd-scripts/sdxl_train_network.py"
  extra+=("--no_half_vae")
elif [ $kind == "v2" ]; then
  extra+=("--v2")
fi
if [[ $use_reg == 1 ]]; then extra+=("--reg_data_dir $reg"); fi
if [[ $use_reg -ne 1 && -n $optimizer ]]; then extra+=("--optimizer_type=$optimizer")
else extra+=("--lowram"); fi
if [[ $module == "lycoris.kohya" ]]; then extra+=("--network_args conv_dim=8 conv_alpha=4"); fi
accelerate launch --num_cpu_threads_per_process=2 $script \\
  --pretrained_model_name_or_path="$model" --train_data_dir "$folder" \\
  --network_module=$module --network_dim=$dim --network_alpha=$alpha \\
  --output_name=yuzu-"$dim" --learning_rate=2e-4 --max_train_epochs=9 \\
  --optimizer_args "weight_decay=0.2" "betas=0.9,0.98" \\
  --shuffle_caption ${extra[@]} 2>&1 | cat
echo "train_network.py is done"
"""
POWERSHELL = r"""# settings
$model = "D:\models\base.safetensors" # the base
$folder = ".\sets\yuzu"
$dim = 24
$lowram = 0
$reg = ""
$lr = "2e-4"
$ext_args = [System.Collections.ArrayList]::new()
<# a block
$dim = 4 #>
$Env:HF_HOME = "huggingface"
$name = if ($dim -gt 16) { "yuzu-large" } else { "yuzu-small" }
if ($lowram) {
  [void]$ext_args.Add("--lowram")
}
elseif ($reg -ne "" -or $dim -eq 24) {
  [void]$ext_args.Add("--optimizer_type=" + "Lion")
  [void]$ext_args.Add("--network_args")
  [void]$ext_args.Add("conv_dim=8")
}
else { [void]$ext_args.Add("--v2") }
accelerate launch --num_cpu_threads_per_process=8 "./sd-scripts/sdxl_train_network.py" `
  --pretrained_model_name_or_path=$model `
  --train_data_dir=$folder --network_module=networks.lora `
  --network_dim=$dim `
  --learning_rate=$lr --output_name=$name $ext_args
Write-Output "train_network.py is done"
"""
CMD = r"""@echo off
REM train_network.py for yuzu
set MODEL=D:\models\base.safetensors
set "NAME=yuzu"
set /a DIM=24
if not "%~1"=="" set "NAME=%~1"
if "%NAME%"=="yuzu" (
  set LR=2e-4
) else (
  set LR=1e-5
)
if not exist "%MODEL%" (
  echo no model for train_network.py
  exit /b 1
)
accelerate launch --num_cpu_threads_per_process 1 ^
    E:\sd-scripts\train_network.py ^
    --pretrained_model_name_or_path=%MODEL% ^
    --train_data_dir="%~dp0sets\yuzu" ^
    --network_dim=%DIM% --network_module=networks.lora ^--learning_rate=%LR% ^
    --output_name=%NAME% ^
    --optimizer_type="Lion" --xformers ^
"""


def options(text: str, name: str, folder: Path) -> dict[str, object]:
    """The options that are read from a script."""
    return launch_script.table(folder / name, text)[0]


def imported(path: Path, text: str) -> tuple[cfg.Config, kohya_import.Draft]:
    path.write_text(text, encoding="utf-8")
    written, draft = kohya_import.convert([path])
    return cfg.load(yaml.safe_load(written)), draft


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("kind", ["xl", "v2", "sd"])
def test_words_are_those_that_bash_hands_over(tmp_path: Path, kind: str) -> None:
    script = BASH.replace(":-xl", f":-{kind}")
    shown = "accelerate() { printf '%s\\0' \"$@\"; }\n" + script
    done = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
    reader = ScriptReader("bash", str(tmp_path))
    reader.read(script)
    (words,) = reader.commands
    assert words[0] == "accelerate"
    assert words[1:] == done.stdout.split("\0")[:-1]


def test_a_script_of_bash(tmp_path: Path) -> None:
    config, draft = imported(tmp_path / "train.sh", BASH)
    train = config.train
    assert (train.base, train.network_dim, train.network_alpha) == (
        "models/base.safetensors",
        24,
        12,
    )
    assert (train.optimizer_type, train.optimizer_args["weight_decay"]) == ("Lion", 0.2)
    assert (train.conv_dim, train.conv_alpha, train.shuffle_caption) == (8, 4, True)
    assert (train.num_epochs, config.scrape.name) == (9, "yuzu-24")
    assert config.scrape.folders[0].path == "sets/yuzu v2"
    assert "accelerate launch --num_cpu_threads_per_process=2" in draft.switched_off


def test_a_script_of_powershell(tmp_path: Path) -> None:
    config, draft = imported(tmp_path / "train.ps1", "\ufeff" + POWERSHELL)
    train = config.train
    assert (train.base, train.network_dim) == ("D:/models/base.safetensors", 24)
    assert (train.optimizer_type, train.conv_dim, train.learning_rate) == ("Lion", 8, 2e-4)
    assert config.scrape.name == "yuzu-large"
    assert not any("v2" in note or "lowram" in note for note in draft.notes)


def test_a_script_of_cmd(tmp_path: Path) -> None:
    config, draft = imported(tmp_path / "train.bat", CMD.replace("\n", "\r\n"))
    train = config.train
    assert (train.base, train.network_dim) == ("D:/models/base.safetensors", 24)
    assert (train.optimizer_type, train.learning_rate) == ("Lion", 2e-4)
    assert config.scrape.folders[0].path == f"{tmp_path.as_posix()}/sets/yuzu"
    assert not any("exist" in note for note in draft.notes)
    asked = CMD.replace("exit /b 1", "set LR=1")
    _, draft = imported(tmp_path / "train.bat", asked)
    assert any('`not exist "%MODEL%"` cannot be told' in note for note in draft.notes)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "accelerate launch train_network.py --network_dim 8 --lowram", {"--lowram": True}),
        ("a.sh", "TRAIN='python x/train_network.py --seed=3'\ntmux send-keys \"$TRAIN\"",
         {"--seed": "3"}),
        ("a.sh", "CMD=(python train_network.py\n  --seed 3)\nCMD+=(--v2)\n\"${CMD[@]}\"",
         {"--seed": "3", "--v2": True}),
        ("a.sh", "python train_network.py --max_train_epoch 5 --sample_every_n_e 2",
         {"--max_train_epochs": "5", "--sample_every_n_epochs": "2"}),
        ("a.sh", "accelerate launch ^\ntrain_network.py --seed=3 ^\n--lr_scheduler_args=\"T_max=30\"",
         {"--seed": "3", "--lr_scheduler_args": ["T_max=30"]}),
        ("a.sh", "python train_network.py --seed=1 \\\n# --seed=2 \\\n  --clip_skip=2",
         {"--clip_skip": "2"}),
        ("a.sh", "cat > c.toml <<EOF\nseed = 'no\nEOF\npython train_network.py --seed=4",
         {"--seed": "4"}),
        ("a.ps1", "$p = \" --seed=7\"\n$p += \" --output_name=`\"a b`\"\"\n"
         "foreach ($x in 1..2) { Write-Output $x }\npython train_network.py $p",
         {"--seed": "7", "--output_name": "a b"}),
        ("a.sh", "if [ -f x ]; then\n python train_network.py --seed=5\nfi", {"--seed": "5"}),
        ("a.sh", "python 'C:\\sd scripts\\train_network.py' --vae \"D:\\v a.pt\"",
         {"--vae": "D:\\v a.pt"}),
    ],
)  # fmt: skip
def test_ways_of_writing_a_command(
    tmp_path: Path, name: str, text: str, expected: dict[str, object]
) -> None:
    read = options(text, name, tmp_path)
    assert {key: read.get(key) for key in expected} == expected


def test_a_config_file_comes_first_and_options_win(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('network_dim = 32\nseed = 5\ndataset_config = "d.toml"\n')
    (tmp_path / "d.toml").write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "sets/hina"\n'
    )
    line = "accelerate launch train_network.py --config_file /elsewhere/run.toml --network_dim=8"
    config, draft = imported(tmp_path / "run.sh", line)
    assert (config.train.network_dim, config.train.seed) == (8, 5)
    assert config.scrape.folders[0].path == "sets/hina"
    (tmp_path / "run.toml").unlink()
    _, draft = imported(tmp_path / "run.sh", line)
    assert any("--config_file /elsewhere/run.toml is not here" in note for note in draft.notes)


def test_what_the_script_does_not_say_is_left_out(tmp_path: Path) -> None:
    text = "python train_network.py --output_name=$1 --seed=$(date +%s) --network_dim=$DIM --clip_skip=2"
    config, draft = imported(tmp_path / "a.sh", text)
    assert config.train.clip_skip == 2
    assert config.train.network_dim == 4
    for word in ("--output_name", "--seed", "--network_dim"):
        assert any(
            entry.startswith(word) and "not set in the script" in entry for entry in draft.left_out
        )


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "flux_train_network.py --network_module=networks.lora_flux",
            "flux_train_network.py is for a kind",
        ),
        ("train_network.py --network_dim=4 --v2", "v2 is for a kind"),
        ("sdxl_train_network.py --seed=1", "may be of a full fine-tuning"),
    ],
)
def test_other_models_are_told(tmp_path: Path, command: str, told: str) -> None:
    _, draft = imported(tmp_path / "a.sh", f"accelerate launch {command}")
    assert any(told in note for note in draft.notes)


def test_the_first_of_several_runs_is_read(tmp_path: Path) -> None:
    line = "python train_network.py --network_dim={}\n"
    config, draft = imported(tmp_path / "a.sh", line.format(8) + line.format(16))
    assert config.train.network_dim == 8
    assert any("trains 2 times" in note for note in draft.notes)


def test_options_that_others_replaced(tmp_path: Path) -> None:
    text = "python train_network.py --use_8bit_adam --caption_extention=.cap --train_data_dir=sets"
    config, _ = imported(tmp_path / "a.sh", text)
    assert config.train.optimizer_type == "AdamW8bit"


def test_a_notebook(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# yuzu"]},
        {"cell_type": "code",
         "source": ['name = "yuzu" #@param {type:"string"}\n', "dim = 24\n", "f(dim)"]},
        {"cell_type": "code", "source": [
            "%cd sd-scripts\n", '!accelerate launch "train_network.py" \\\n',
            "  --network_dim={dim} \\\n", "  --output_name=$name\n", "print('done')"]},
    ]  # fmt: skip
    path = tmp_path / "train.ipynb"
    config, _ = imported(path, json.dumps({"cells": cells, "nbformat": 4}))
    assert (config.train.network_dim, config.scrape.name) == (24, "yuzu")
    path.write_text(json.dumps({"cells": cells[:2]}))
    with pytest.raises(BakeryError, match=r"is a notebook.*training_config.toml"):
        kohya_import.convert([path])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.sh", "accelerate launch train_db.py --seed=1", "it runs train_db.py"),
        ("a.bat", "echo hello", "no command in it runs"),
        ("a.ipynb", "[]", "no notebook that can be read"),
        ("a.sh", "", "is empty"),
    ],
)
def test_scripts_that_train_no_network(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BakeryError, match=told):
        kohya_import.convert([tmp_path / name])


def test_keys_are_not_written(tmp_path: Path) -> None:
    text = "python train_network.py --wandb_api_key=0123456789abcdef0123 --network_dim=4"
    written = kohya_import.convert([_file(tmp_path / "a.sh", text)])[0]
    assert "0123456789abcdef" not in written
    assert "wandb_api_key (a secret" in written


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    ["'", '"', "$(", "${", "if", "fi", "}", "{", ")", "else", "`", "\\", "((", "a=(", "# \\"],
)
@pytest.mark.parametrize("shell", ["bash", "PowerShell", "cmd"])
def test_broken_scripts_end(text: str, shell: shell_words.Shell) -> None:
    reader = ScriptReader(shell, ".")
    reader.read(f"{text}\npython train_network.py --seed=1\n{text}")
    reader.read(text)
