"""The text tower of the CLIP, trained first and then frozen: it must keep apart what a caption says, and of which
thing it says it.

A tower trained on the contrastive loss alone keeps what tells a batch apart and lets the rest fade; a denoiser
conditioned on it then never learns nouns. So the tower first reads captions out: at each noun its own colours and
pattern and which thing it is, at each position the piece that stands there, at the end everything. The vision tower
is then trained against it, contrastively, with the text tower locked.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CLIPModel, CLIPTokenizer

from storybook.attributes import HEADS, UNKNOWN, label_scene
from storybook.training import Clock, Log, autocast
from storybook.world import NOUNS, Scene, caption, random_scene

BATCH = 192
SLOT_HEADS = ("noun", "colour", "second", "pattern")
THINGS = 2


class TextReadouts(nn.Module):
    """Linear read-outs over the text tower; thrown away after training."""

    def __init__(self, width: int, projection: int, vocabulary: int):
        super().__init__()
        self.at_noun = nn.ModuleDict({name: nn.Linear(width, HEADS[f"left_{name}"]) for name in SLOT_HEADS})
        self.which = nn.Linear(width, THINGS)
        self.piece = nn.Linear(width, vocabulary)
        self.at_end = nn.ModuleDict({name: nn.Linear(projection, classes) for name, classes in HEADS.items()})


def noun_positions(tokens: Tensor, noun_ids: Tensor) -> Tensor:
    """Where the first and the second noun of each caption stand: (n, tokens) -> (n, 2) int64, -1 where there is
    none.
    """
    found = torch.full((len(tokens), THINGS), -1)
    for row, hits in enumerate(torch.isin(tokens, noun_ids)):
        places = hits.nonzero().flatten()[:THINGS]
        found[row, : len(places)] = places
    return found


def _labels(scenes: list[Scene], whole: list[bool]) -> Tensor:
    """What the captions say as class numbers; UNKNOWN where a caption may have left it out. Nouns are always said."""
    rows = []
    for scene, said in zip(scenes, whole, strict=True):
        labels = label_scene(scene)
        if not said:
            labels = [label if name.endswith("noun") else UNKNOWN for name, label in zip(HEADS, labels, strict=True)]
        rows.append(labels)
    return torch.tensor(rows)


def readout_losses(readouts: TextReadouts, clip: CLIPModel, tokens: Tensor, labels: Tensor, noun_ids: Tensor) -> Tensor:
    """Sum of the four read-out losses for captions `tokens` (n, t) with `labels` (n, 9)."""
    made = clip.text_model(input_ids=tokens)
    states = made.last_hidden_state  # (n, t, width)
    end = clip.text_projection(made.pooler_output)
    losses = [
        cross_entropy(head(end).float(), labels[:, column], ignore_index=UNKNOWN)
        for column, head in enumerate(readouts.at_end.values())
    ]
    total = torch.stack(losses).mean()
    length = tokens.shape[1]
    total = total + cross_entropy(readouts.piece(states).float().flatten(0, 1), tokens.flatten()) * length / 32
    places = noun_positions(tokens.cpu(), noun_ids.cpu()).to(tokens.device)
    for thing in range(THINGS):
        rows = (places[:, thing] >= 0).nonzero().flatten()
        at_noun = states[rows, places[rows, thing]]
        total = total + cross_entropy(readouts.which(at_noun).float(), torch.full_like(rows, thing))
        for index, name in enumerate(SLOT_HEADS):
            wanted = labels[rows, thing * len(SLOT_HEADS) + index]
            if (wanted != UNKNOWN).any():
                total = total + 0.25 * cross_entropy(
                    readouts.at_noun[name](at_noun).float(), wanted, ignore_index=UNKNOWN
                )
    return total


def train_text_tower(
    clip: CLIPModel, tokenizer: CLIPTokenizer, minutes: float, device: torch.device, log: Log, seed: int = 11
) -> int:
    """Train `clip`'s text tower and text projection in place; returns the steps taken."""
    config = clip.config.text_config
    readouts = TextReadouts(config.hidden_size, clip.config.projection_dim, config.vocab_size).to(device)
    trained = [*clip.text_model.parameters(), *clip.text_projection.parameters(), *readouts.parameters()]
    optimizer = torch.optim.AdamW(trained, 1.5e-3, betas=(0.9, 0.98), weight_decay=0.01)
    noun_ids = torch.tensor([tokenizer.convert_tokens_to_ids(f"{noun}</w>") for noun in NOUNS], device=device)
    rng = np.random.default_rng(seed)
    clock = Clock(minutes)
    step = 0
    while not clock.over:
        scenes = [random_scene(rng, two=0.6) for _ in range(BATCH)]
        whole = [bool(rng.random() < 0.7) for _ in scenes]
        texts = [caption(scene, rng, whole=said) for scene, said in zip(scenes, whole, strict=True)]
        tokens = tokenizer(texts, padding="longest", truncation=True, return_tensors="pt").input_ids.to(device)
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * clock.rate(step, 100)
        with autocast(device):
            loss = readout_losses(readouts, clip, tokens, _labels(scenes, whole).to(device), noun_ids)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 50 == 0:
            log(f"text step {step} share {clock.share:.2f} loss {loss.item():.3f}")
    return step
