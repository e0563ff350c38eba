"""The embedded base model: how its world is drawn, how it was trained, how it is judged, and its weights.

Everything here needs only torch, diffusers, transformers, tokenizers, safetensors, numpy and pillow (and `cns` where
pictures are generated), so that the training runs by itself on any machine.
"""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "model"
SAMPLES_FOLDER = Path(__file__).parent / "samples"
