"""The state of every random generator that a step of training may draw from. Runs in workers only."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

RngState = dict[str, Any]


def capture(device: torch.device, own: Iterable[torch.Generator] = ()) -> RngState:
    """States of Python, numpy, torch, of `device` where that is a GPU, and of the loaders' `own`. Draws nothing."""
    state: RngState = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    state["own"] = [generator.get_state() for generator in own]
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def put_back(state: RngState, device: torch.device, own: Sequence[torch.Generator] = ()) -> None:
    """The generators draw from here on what they drew after that `capture`."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    for generator, held in zip(own, state["own"], strict=False):
        generator.set_state(held)


def generators_of(loaders: Iterable[Any]) -> list[torch.Generator]:
    """The generators that these loaders, their samplers and batch samplers hold, each once."""
    found: dict[int, torch.Generator] = {}
    for loader in loaders:
        batches = getattr(loader, "batch_sampler", None)
        for holder in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())
