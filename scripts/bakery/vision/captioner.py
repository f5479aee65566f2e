"""The captioner: pictures in, a sentence or two about each out.

A captioner is a folder as transformers saves an image-to-text model: Florence-2, Qwen-VL, LLaVA and
others. Steps for a picture:

1. shorten it, so that no picture takes more memory than `_LONGEST` pixels a side;
2. ask: a model with a chat template gets the picture and a request, Florence-2 its own task word;
3. write greedily, so that the same picture gets the same words;
4. keep what is finished: whole sentences, on one line.

No code of a model's own is ever run, no pickle is read, and nothing is fetched here. A model some of
whose weights are missing in its files is refused, where transformers would draw them at random.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.io import manifest, picture_bounds, regular_files, status
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings.tag import Tag
from bakery.sources import sentences
from bakery.vision import hub

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files of a hub's repository that are fetched."""
PROMPT = (
    "Describe this picture in one or two plain sentences: what the character does, wears and shows, "
    "and where. Say only what is visible."
)
FLORENCE_TASK = "<DETAILED_CAPTION>"
_FLORENCE = "florence2"
_LONGEST = 1536
"""Longest side in pixels of a picture that the model gets: it makes it smaller still."""
_VERSION = 3
"""Raised when a cached sentence would be another."""
_LETTER = re.compile(r"[^\W\d_]")


def fetch(model: str | None) -> Path | None:
    """The captioner's folder: `model` itself, or a download when the config names a hub id.

    None where no captioner is named. Raises `BakeryError` if there is neither such a folder nor such a
    repository.
    """
    if model is None or Path(model).is_dir():
        return Path(model) if model else None
    if not hub.is_id(model) or Path(model).exists():
        raise BakeryError(
            f"tag.captioner: {model} is no folder of a model; give one, or a hub id such as "
            "florence-community/Florence-2-base"
        )
    return hub.download(model, PATTERNS, "tag.captioner")


def named(
    settings: Tag, place: str | None, *, cache: Path, device: Callable[[], str]
) -> Captioner | None:
    """The captioner of a config, None where it names none; `place` is its folder or hub id."""
    folder = fetch(place)
    if folder is None:
        return None
    request = Request(settings.captioner_prompt, settings.captioner_tokens)
    return Captioner(folder, request, cache, device)


@dataclass(frozen=True)
class Request:
    """What a captioner is asked."""

    prompt: str = ""
    """Empty asks as `PROMPT` does, or for Florence-2's `FLORENCE_TASK`."""
    most_tokens: int = 100


@dataclass
class Captioner:
    """A model that is loaded when the first sentence is not in the cache."""

    folder: Path
    request: Request
    cache: Path | None
    """Where sentences are kept, a text file each; None keeps none."""
    device: Callable[[], str]
    """Asked when the model is loaded."""
    made: int = 0
    """Sentences that were not in the cache."""
    _loaded: _Model | None = None

    def sentences(
        self, pictures: Iterable[tuple[str, Path]], opened: Callable[[str], Image.Image | None]
    ) -> Iterator[tuple[str, str]]:
        """(name, sentence) of each of `pictures` (name, file) that `opened` gives an RGB picture for.

        The sentence is "" where the model says nothing that is finished. Raises `BakeryError` when the
        folder holds no such model.
        """
        known = self._identity()
        listed = list(pictures)
        for done, (name, path) in enumerate(listed, start=1):
            kept = self._kept(known, path)
            if kept is not None and kept.is_file():
                yield name, regular_files.read_text(kept).strip()
            elif (picture := opened(name)) is not None:
                sentence = self._said(picture)
                if kept is not None:  # at once: a killed job goes on from here
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    write_text(kept, sentence + "\n", lasting=False)
                yield name, sentence
            status.tell("writing sentences", done, len(listed))

    def _said(self, picture: Image.Image) -> str:
        if self._loaded is None:
            self._loaded = _load(self.folder, self.device())
        self.made += 1
        return finished(self._loaded.say(picture, self.request))

    def _kept(self, known: str, path: Path) -> Path | None:
        """The file in the cache for the picture at `path`."""
        if self.cache is None:
            return None
        made_from = hashlib.sha256(f"{known}{manifest.digest(path)}".encode()).hexdigest()
        return self.cache / "sentences" / f"{made_from[:40]}.txt"

    def _identity(self) -> str:
        """Everything but the picture that decides about a sentence."""
        files = [
            (path.relative_to(self.folder).as_posix(), manifest.content(path))
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and any(map(path.match, PATTERNS))
        ]
        return json.dumps([_VERSION, self.request.prompt, self.request.most_tokens, files])


def finished(text: str) -> str:
    """The whole sentences of what a model wrote, on one line; "" where there are none.

    A short answer without a full stop counts as one sentence, unless it is long enough to have been
    cut off.
    """
    text = " ".join(text.split())
    said = sentences.whole(text) or ("" if len(text.split()) > _UNFINISHED else text)
    return said if _LETTER.search(said) else ""


_UNFINISHED = 30
"""Words without a full stop that are more than one short sentence."""


@dataclass
class _Model:
    processor: Any
    model: Any
    kind: str
    device: str

    def say(self, picture: Image.Image, request: Request) -> str:
        """What the model writes about an RGB picture, without special tokens."""
        import torch

        given = self._asked(picture_bounds.shortened(picture, _LONGEST), request.prompt)
        given = given.to(self.device, dtype=self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(
                **given, max_new_tokens=request.most_tokens, do_sample=False, num_beams=1
            )
        if not self.model.config.is_encoder_decoder:  # these repeat the request
            tokens = tokens[:, given["input_ids"].shape[1] :]
        (text,) = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return str(text)

    def _asked(self, picture: Image.Image, prompt: str) -> Any:
        if self.kind == _FLORENCE:
            task = prompt or FLORENCE_TASK
            return self.processor(text=task, images=picture, return_tensors="pt")
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image", "image": picture},
                       {"type": "text", "text": prompt or PROMPT}]  # fmt: skip
            return self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True,
                tokenize=True, return_dict=True, return_tensors="pt",
            )  # fmt: skip
        asked = {"text": prompt} if prompt else {}
        return self.processor(images=picture, return_tensors="pt", **asked)


def _load(folder: Path, device: str) -> _Model:
    """The model in `folder`, in bfloat16 on CUDA and in float32 elsewhere."""
    import torch

    here = {"local_files_only": True, "trust_remote_code": False}
    try:
        # inside, as a torchvision that does not fit torch shows when these are imported
        from transformers import AutoModelForImageTextToText

        processor = _processor(folder, here)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True,
            dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32, **here,
        )  # fmt: skip
    except Exception as problem:  # transformers raises whatever a wrong file leads it to
        lines = [line for line in str(problem).splitlines() if line.strip()]
        reason = lines[0].strip() if lines else type(problem).__name__
        raise BakeryError(
            f"tag.captioner: {folder} cannot be loaded ({reason[:300]}): give a folder as transformers "
            f"saves it{_missing_package(str(problem))}"
        ) from None
    model, report = loaded
    lacking = sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])})
    if lacking:
        raise BakeryError(
            f"tag.captioner: {folder} lacks {len(lacking)} of the model's weights ({lacking[0]}): it "
            "was saved for code of its own, so take a copy in transformers' own form, such as "
            "florence-community/Florence-2-base"
        )
    return _Model(processor, model.eval().to(device), model.config.model_type, device)


def _processor(folder: Path, here: Mapping[str, bool]) -> Any:
    """What turns pictures and words into a model's input.

    Models that read videos as well (Qwen-VL) have a part for those that needs torchvision; where that is
    not installed, the part is left out, and pictures are read with Pillow.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    config = AutoConfig.from_pretrained(folder, **here)
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    if importlib.util.find_spec("torchvision") is not None or not _reads_videos(kind):
        return AutoProcessor.from_pretrained(folder, **here)

    class WithoutVideos(kind):  # known when it is loaded
        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            if name == "video_processor":
                return None
            return super().check_argument_for_proper_class(name, part)

    tokenizer = AutoTokenizer.from_pretrained(folder, **here)
    template = folder / "chat_template.json"
    if tokenizer.chat_template is None and template.is_file():
        tokenizer.chat_template = json.loads(regular_files.read_text(template))["chat_template"]
    return WithoutVideos(
        image_processor=AutoImageProcessor.from_pretrained(folder, **here),
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=tokenizer.chat_template,
    )


def _reads_videos(kind: Any) -> bool:
    return kind is not None and "video_processor" in kind.get_attributes()


def _missing_package(problem: str) -> str:
    """The cure where a processor needs a package that is not part of a bake's environment."""
    if "torchvision::" in problem:  # its compiled part could not be loaded
        return (
            "; torchvision is made for another build of torch: install the one of this torch's version, "
            "from the same index as torch (CPU or CUDA)"
        )
    # without torchvision, transformers cannot even name the class of a video processor
    if "torchvision" in problem.lower() or "VIDEO_PROCESSOR_MAPPING" in problem:
        return "; its processor needs torchvision: install it from the same index as torch"
    return ""
