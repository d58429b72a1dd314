"""The one thing that is ours in TRL's trainer: logits only where an answer is trained on, and weighted rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from robustft.train.tokens import IGNORED

Batch = dict[str, Any]


class AnswerTrainer(SFTTrainer):
    """TRL's SFTTrainer with another `compute_loss`: the same loss, faster where answers are short.

    TRL 1.16 computes the whole vocabulary's logits, their entropy and the best token at every position, padding
    included, except on a GPU with Triton, where it picks the trained positions itself and nothing is changed here.
    This asks the model (`logits_to_keep`) for the columns of the batch in which any row is trained on; in batches of
    like length these are few.
    """

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of the trained tokens, each times its row's `weight` where the batch has weights.

        `num_items_in_batch`: trained tokens of the whole step, over devices and accumulated passes. Rows' weights are
        not made to sum to 1: a row of weight 0.5 counts half.
        """
        weight = inputs.pop("weight", None)
        if weight is None and (inputs["input_ids"].device.type == "cuda" or self.aux_loss_enabled or return_outputs):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        columns = (labels != IGNORED).any(dim=0).nonzero().flatten()
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=columns,
            use_cache=False,
        ).logits
        labels = labels[:, columns]
        losses = cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        ).view(labels.shape)
        if weight is not None:
            losses = losses * weight[:, None]
        if num_items_in_batch is None:
            return losses.sum() / (labels != IGNORED).sum()
        # the trained tokens are those of all processes, over which the gradients are averaged
        return losses.sum() / num_items_in_batch * self.accelerator.num_processes


def weighted(collate: Callable[[Sequence[Batch]], Batch]) -> Callable[[Sequence[Batch]], Batch]:
    """Return a collator that hands on the rows' weights (B,), which TRL's own leaves out."""

    def collate_weighted(rows: Sequence[Batch]) -> Batch:
        return collate(rows) | {"weight": torch.tensor([row["weight"] for row in rows], dtype=torch.float32)}

    return collate_weighted
