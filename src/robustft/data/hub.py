"""From a dataset of the Hugging Face hub, `hf://DATASET[/CONFIG][/SPLIT]`, to raw rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from robustft.data.files import RawRow, plain
from robustft.data.frames import HubFrame
from robustft.errors import DataError

PREFIX = "hf://"


@dataclass(frozen=True, slots=True)
class HubAddress:
    """What is loaded: a dataset (`owner/name`, or a bare `name`), one of its configs, one of its splits."""

    dataset: str
    config: str
    split: str


def hub_rows(address: str) -> Iterator[RawRow]:
    """Yield the rows of a hub dataset. Raises DataError, also where the hub can't be reached."""
    try:
        import datasets
    except ImportError:
        raise DataError('needs datasets: pip install "robustft[hub]"', path=address) from None
    try:
        found = resolve(
            address,
            lambda name: datasets.get_dataset_config_names(name) or ["default"],
            datasets.get_dataset_split_names,
            datasets.exceptions.DatasetNotFoundError,
        )
        rows = datasets.load_dataset(found.dataset, found.config, split=found.split)
    except DataError:
        raise
    except Exception as error:  # the hub's client raises some dozen unrelated kinds, for the network as for the data
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        way_out = "check the name and the network, or download the files and set data.path to their folder"
        raise DataError(f"can't be loaded from the hub ({reason}); {way_out}", path=address) from None
    for number, row in enumerate(HubFrame(rows).rows(), start=1):
        try:
            yield RawRow(address, number, plain(row))
        except ValueError as error:
            yield RawRow(address, number, {"row": ascii(row)}, str(error))


def resolve(
    address: str,
    configs_of: Callable[[str], Sequence[str]],
    splits_of: Callable[[str, str], Sequence[str]],
    not_found: type[Exception] = LookupError,
) -> HubAddress:
    """Tell dataset, config and split apart, by what the hub has.

    `a/b` is read as owner and name first, and as a bare name with a config or split where there is no such dataset.
    `configs_of` raises `not_found` for a dataset that isn't there. Raises DataError, which lists the choices.
    """
    names = address.removeprefix(PREFIX).strip("/").split("/")
    for length in (2, 1):
        if length <= len(names) <= length + 2:
            dataset, rest = "/".join(names[:length]), names[length:]
            try:
                configs = configs_of(dataset)
            except not_found:
                continue
            return _choose(address, dataset, rest, configs, splits_of)
    raise DataError("no such dataset on the hub; write hf://OWNER/NAME[/CONFIG][/SPLIT]", path=address)


def _choose(
    address: str,
    dataset: str,
    rest: Sequence[str],
    configs: Sequence[str],
    splits_of: Callable[[str, str], Sequence[str]],
) -> HubAddress:
    config, split = (rest[0], rest[1]) if len(rest) == 2 else (None, rest[0] if rest else None)
    if config is None and split in configs:
        config, split = split, None
    if config is None:
        config = configs[0] if len(configs) == 1 else "default"
    if config not in configs:
        raise DataError(f"choose a config of {dataset}: {', '.join(configs)}", path=address)
    splits = splits_of(dataset, config)
    if split is None:
        split = splits[0] if len(splits) == 1 else "train"
    if split not in splits:
        raise DataError(f"choose a split of {dataset}/{config}: {', '.join(splits)}", path=address)
    return HubAddress(dataset, config, split)
