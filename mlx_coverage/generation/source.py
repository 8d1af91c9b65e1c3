"""What `hf:FOLDER` and `zoo:NAME` name: a configuration, weights, a tokenizer, and the task."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mlx_coverage.analyze.failures import InputError, condense

HUB, ZOO = "hf:", "zoo:"
Task = Literal["text", "speech"]

_WEIGHTS = ("*.safetensors", "*.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# What tokenizers and processors of transformers are read from.
_TEXT_FILES = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json",
    "added_tokens.json", "vocab.*", "merges.txt", "*.model", "chat_template*", "*processor*.json",
    "tekken.json",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A model before its weights are loaded.

    Attributes:
        spec: as it was named.
        task: what it generates, and from what.
        config: transformers' configuration.
        folder: where its files are; None for a preset, whose weights are random.
        kind: the model class.
    """

    spec: str
    task: Task
    config: Any
    folder: Path | None
    kind: Any

    def load_model(self, dtype: torch.dtype | None = None) -> Any:
        """The model of transformers, in evaluation mode.

        Args:
            dtype: of its weights; None for that of the configuration, or float32.

        Raises:
            InputError: the weights are damaged, or are not all there.
        """
        if self.folder is None:
            wanted = dtype or getattr(self.config, "dtype", None) or torch.float32
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return self.kind._from_config(self.config, dtype=wanted).eval()
        try:
            with _without_bars():
                model, found = self.kind.from_pretrained(
                    self.folder,
                    dtype=dtype or "auto",
                    local_files_only=True,
                    output_loading_info=True,
                )
        except Exception as error:
            raise InputError(
                f"{self.folder} has weights that transformers does not load ({condense(error)}); "
                "save the model again with save_pretrained"
            ) from error
        if missing := sorted(found["missing_keys"]):
            raise InputError(
                f"{self.folder} lacks {len(missing)} of the model's weights, such as "
                f"{missing[0]}; save the model again with save_pretrained"
            )
        return model.eval()

    def make_absent_model(self) -> Any:
        """The model without weights, on the meta device: it can be planned, not run."""
        dtype = getattr(self.config, "dtype", None) or torch.float32
        with torch.device("meta"):
            return self.kind._from_config(self.config, dtype=dtype).eval().to("meta")

    def write_tokenizer(self, folder: Path) -> None:
        """Put what the tokenizer, or the processor, is read from into an existing folder."""
        if self.folder is None:
            make_byte_tokenizer(self.config).save_pretrained(folder)
            return
        for pattern in _TEXT_FILES:
            for path in self.folder.glob(pattern):
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)


def open_source(spec: str, parts: bool = True) -> Source | None:
    """What a spec names; None for a preset that generates nothing.

    Args:
        spec: `hf:FOLDER`, `hf:OWNER/NAME` or a `zoo:NAME`.
        parts: whether a folder must have weights and a tokenizer beside its configuration.

    Raises:
        InputError: there is no such folder or preset, or a part of the model is missing.
    """
    _require("transformers")
    if spec.startswith(ZOO):
        return _open_preset(spec)
    folder = _find_folder(spec.removeprefix(HUB))
    _check_files(folder, parts)
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise InputError(
            f"{folder / 'config.json'} is no configuration that transformers reads "
            f"({condense(error)})"
        ) from error
    task, kind = _find_task(config)
    if task is None:
        raise InputError(
            f"{folder} holds a {type(config).__name__.removesuffix('Config')} model, which "
            "generates no text; accepted: causal language models and speech recognizers; use "
            "check and export with a Python file for others"
        )
    return Source(spec, task, config, folder, kind)


def make_byte_tokenizer(config: Any) -> Any:
    """A tokenizer of one token for each byte, for models without one.

    Its special tokens are those of the configuration; the bytes follow in the ids left over.
    A byte that no UTF-8 text holds has no token; a token that stands for none is its number.

    Args:
        config: of a model with a vocabulary of at least 246 tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    config = config.get_text_config()
    named = {name: getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")}
    taken = {value: f"<{name}>" for name, value in named.items() if isinstance(value, int)}
    free = (number for number in range(config.vocab_size) if number not in taken)
    letters = [
        letter
        for letter, byte in sorted(_list_letters().items(), key=lambda item: item[1])
        if byte not in (0xC0, 0xC1) and byte < 0xF5
    ]
    vocabulary = {text: number for number, text in taken.items()}
    vocabulary |= {letter: next(free) for letter in letters}
    vocabulary |= {f"<{number}>": number for number in free}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = {f"{name}_token": taken[value] for name, value in named.items() if value in taken}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    return tokenizer


def _list_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level tokenizers."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def _open_preset(spec: str) -> Source | None:
    from mlx_coverage.analyze.load import find_preset

    preset, small = find_preset(spec)
    methods = preset.make(True)
    if list(methods) != ["forward"]:
        return None
    model = getattr(methods["forward"][0], "model", None)
    task, kind = _find_task(getattr(model, "config", None))
    if task is None or not isinstance(model, kind):
        return None
    if not small:
        wrapper: Any = preset.make(False)["forward"][0]
        model = wrapper.model
    return Source(spec, task, model.config, None, kind)


def _find_task(config: Any) -> tuple[Task | None, Any]:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    # Encoders have such a class as well, which the model that they were saved from was not of.
    named = getattr(config, "architectures", None)
    if kind is None or (named and kind.__name__ not in named):
        return None, None
    return "text", kind


def _find_folder(name: str) -> Path:
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(f"{name} is a file; accepted: hf:FOLDER with config.json and weights")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"{name}: there is no such folder; accepted: hf:FOLDER or hf:OWNER/NAME")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name))
    except Exception as error:
        raise InputError(
            f"{name} is no folder, and the model hub does not give it ({type(error).__name__}); "
            "download the model where the hub can be reached, and name its folder: hf:FOLDER"
        ) from error


def _check_files(folder: Path, parts: bool) -> None:
    def has(*patterns: str) -> bool:
        return any(next(folder.glob(pattern), None) for pattern in patterns)

    if not has("config.json"):
        raise InputError(
            f"{folder} has no config.json; accepted: a folder that save_pretrained wrote"
        )
    if parts and not has(*_WEIGHTS):
        raise InputError(f"{folder} has no weights; accepted: {' or '.join(_WEIGHTS)} in it")
    if parts and not has(*_TOKENIZERS):
        raise InputError(
            f"{folder} has no tokenizer; accepted: {', '.join(_TOKENIZERS)} in it: save it there "
            "with tokenizer.save_pretrained"
        )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' progress bars off the terminal, which they leave marked."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _require(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise InputError(f"{package} is not installed; pip install 'mlx-coverage[generate]'")
