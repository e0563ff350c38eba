"""Train the storybook base: `python -m storybook.train --stage tokenizer|clip|vae|unet|encoder --minutes N --device
cpu|cuda`.

Every stage goes on from its checkpoint under `--checkpoints`, or from the weights in the model folder where there is
no checkpoint, and writes its part of that folder in half precision. To train from nothing, name an empty `--folder`.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from storybook import MODEL_FOLDER

STAGES = ("tokenizer", "clip", "vae", "unet", "encoder")


def log(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--checkpoints", type=Path, default=MODEL_FOLDER.parent / "checkpoints")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    parser.add_argument(
        "--pool", type=int, default=0, help="scenes (or groups of them) drawn ahead; 0 is the stage's own"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of the unet stage")
    parser.add_argument(
        "--plain-look", type=float, default=0.25, help="share of things that words alone describe, in the unet stage"
    )
    parser.add_argument("--two", type=float, default=0.4, help="share of scenes with two things, in the unet stage")
    parser.add_argument("--no-compile", action="store_true", help="do not compile the UNet (short trials)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    folder, checkpoints, minutes = options.folder, options.checkpoints, options.minutes

    if options.stage == "tokenizer":
        from storybook import tokenizer

        made = tokenizer.run(folder)
        log(f"tokenizer done: {len(made)} pieces")
    elif options.stage == "clip":
        from storybook import clip_stage

        clip_stage.run(folder, checkpoints, minutes, device, log, options.pool or 5000)
    elif options.stage == "vae":
        from storybook import vae_stage

        vae_stage.run(folder, checkpoints, minutes, device, log, options.pool or 24_000)
    elif options.stage == "unet":
        from storybook import unet_stage

        unet_stage.run(
            folder,
            checkpoints,
            minutes,
            device,
            log,
            options.pool or 40_000,
            rate=options.rate,
            plain_look=options.plain_look,
            two=options.two,
            compiled=not options.no_compile,
        )
    else:
        from storybook import encoder_stage

        encoder_stage.run(folder, checkpoints, minutes, device, log, options.pool or 3000)


if __name__ == "__main__":
    main()
