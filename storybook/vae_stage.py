"""Stage three: the autoencoder, 64 px pictures to an 8 x 8 grid of 32 numbers and back.

Eight by eight positions make a UNet step four times cheaper than sixteen by sixteen; the 32 channels keep as many
numbers (2048) as 16 x 16 x 8 would. Noise is added to the latents while training, so that the decoder draws crisp
edges from latents that a denoiser got slightly wrong.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from storybook.pools import draw_pool, one_scene, to_pixels
from storybook.sheets import contact_sheet
from storybook.training import (
    Clock,
    Log,
    MovingAverage,
    autocast,
    begin,
    module_state,
    record_stage,
    save_half,
    save_state,
)
from storybook.world import PICTURE_PX

LATENT_CHANNELS = 32
LATENT_SIZE = 8
SAMPLES = 8  # pictures on a sheet, there and back
NOISE = 0.1  # standard deviation of the noise added to latents of unit scale while training
BATCH = 32
POSTERIOR_LOGVAR = -10.0  # the stock pipeline may sample the posterior: it is as good as its mean


def build_vae() -> AutoencoderKL:
    """Two million parameters. Few, wide normalisation groups: many narrow ones converge badly."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 96, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=PICTURE_PX,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def encode_mean(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """(n, 3, 64, 64) in -1..1 -> posterior means (n, 32, 8, 8), not scaled."""
    return vae.quant_conv(vae.encoder(pixels))[:, :LATENT_CHANNELS]


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Unscaled latents (n, 32, 8, 8) -> (n, 3, 64, 64), about -1..1."""
    return vae.decoder(vae.post_quant_conv(latents))


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right-hand and the lower neighbour."""
    return pixels[..., 1:] - pixels[..., :-1], pixels[..., 1:, :] - pixels[..., :-1, :]


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Squared error for the decibels, absolute error and edges for crispness."""
    made = made.float()
    loss = (made - wanted).square().mean() + 0.1 * (made - wanted).abs().mean()
    for ours, theirs in zip(edges(made), edges(wanted), strict=True):
        loss = loss + 0.5 * (ours - theirs).square().mean()
    return loss


def decibels(made: Tensor, wanted: Tensor) -> float:
    """Mean peak signal-to-noise ratio over pictures in -1..1 (peak 2)."""
    error = (made.float().clamp(-1, 1) - wanted).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(4 / error)).mean())


def run(folder: Path, checkpoints: Path, minutes: float, device: torch.device, log: Log, pool: int) -> None:
    """Train, log, and write `folder`/vae in half precision.

    Where the folder has a UNet already, the decoder half alone is trained.
    """
    torch.manual_seed(2)
    vae = build_vae().to(device, memory_format=torch.channels_last)
    rate = 2e-3
    decoder_only = (folder / "unet").exists()
    if decoder_only:  # a denoiser has learned these latents: what makes them may not change any more
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    trained = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, rate, betas=(0.9, 0.99), weight_decay=1e-4)
    average = MovingAverage(vae, 0.998)
    state_file = checkpoints / "vae.safetensors"
    step = begin(state_file, folder / "vae" / "diffusion_pytorch_model.safetensors", vae, optimizer, average)["steps"]
    _, pictures = draw_pool(one_scene, pool, seed=2000 + step)
    held_out = to_pixels(pictures[:128], device)
    pictures = pictures[128:]
    log(f"vae: {len(pictures)} scenes drawn, going on from step {step}")
    clock = Clock(minutes)
    generator = torch.Generator().manual_seed(3 + step)
    while not clock.over:
        rows = torch.randint(len(pictures), (BATCH,), generator=generator)
        pixels = to_pixels(pictures[rows], device)
        for group in optimizer.param_groups:
            group["lr"] = rate * clock.rate(step, 200)
        with autocast(device):
            unit = _unit_latents(vae, pixels)
            made = decode(vae, unit + NOISE * torch.randn_like(unit))
        loss = reconstruction_loss(made, pixels)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        average.update(vae)
        step += 1
        if step % 100 == 0:
            log(f"vae step {step} share {clock.share:.2f} loss {loss.item():.4f} {_measure(vae, held_out, device)}")
    save_state(state_file, module_state(vae, optimizer, average), {"steps": step, "samples": step * BATCH})
    record_stage(folder, "vae", steps=step, samples=step * BATCH, minutes=clock.minutes, device=device.type)
    average.write_into(vae)
    log(f"vae done: step {step} {_measure(vae, held_out, device)}")
    draw_samples(vae, held_out[:SAMPLES], device, checkpoints / f"vae-{step:06}.png")
    export(vae, held_out, folder)


@torch.no_grad()
def draw_samples(vae: AutoencoderKL, pixels: Tensor, device: torch.device, sheet: Path) -> None:
    """Pictures (n, 3, 64, 64) in -1..1 there and back: a row of them, and below it what came back."""
    with autocast(device):
        made = decode(vae, _unit_latents(vae, pixels))
    shown = ((torch.cat([pixels, made]).float().clamp(-1, 1) + 1) * 127.5).round().byte()
    contact_sheet([*shown.permute(0, 2, 3, 1).cpu().numpy()], columns=len(pixels), zoom=3).save(sheet)


def _unit_latents(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Latents divided by their deviation over the batch; once exported, that division is in the weights."""
    latents = encode_mean(vae, pixels)
    exported = bool((vae.quant_conv.bias[LATENT_CHANNELS:] == POSTERIOR_LOGVAR).all())
    return latents if exported else latents / latents.float().std().to(latents.dtype)


@torch.no_grad()
def _measure(vae: AutoencoderKL, pixels: Tensor, device: torch.device) -> str:
    with autocast(device):
        made = decode(vae, _unit_latents(vae, pixels))
    return f"held out {decibels(made, pixels):.2f} dB"


@torch.no_grad()
def export(vae: AutoencoderKL, pixels: Tensor, folder: Path) -> None:
    """Fold the unit scale into the weights and write half precision.

    The decoder was trained on latents divided by their batch deviation; the mean of that deviation goes into the
    quantising convolution, and a constant log-variance stands where the stock pipeline looks for one.
    """
    scale = encode_mean(vae, pixels).std() / _unit_latents(vae, pixels).std()
    vae.quant_conv.weight[:LATENT_CHANNELS] /= scale
    vae.quant_conv.bias[:LATENT_CHANNELS] /= scale
    vae.quant_conv.weight[LATENT_CHANNELS:] = 0
    vae.quant_conv.bias[LATENT_CHANNELS:] = POSTERIOR_LOGVAR
    save_half(vae, folder / "vae")
