"""What is to be learned: a name, a class noun, and pictures with captions."""

from dataclasses import dataclass

from PIL import Image

from cns.errors import LearningRefused
from cns.text import TOKEN, is_text


@dataclass(frozen=True)
class Concept:
    """What is to be learned: a name ("rex"), its class noun ("dog"), pictures, and their captions with its token."""

    name: str
    class_noun: str
    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]

    @property
    def token(self) -> str:
        return f"<{self.name}>"

    def __post_init__(self) -> None:
        if not TOKEN.fullmatch(self.token):
            raise LearningRefused(f"The name {self.name!r} may hold letters, digits, - and _ only, and at least one.")
        if not self.pictures:
            raise LearningRefused(f"There is no picture of {self.name!r} to learn from.")
        if len(self.captions) != len(self.pictures):
            raise LearningRefused(f"{len(self.pictures)} pictures need as many captions, not {len(self.captions)}.")
        if not all(is_text(words) for words in (self.class_noun, *self.captions)):
            raise LearningRefused(f"The class noun or a caption of {self.name!r} holds half a character.")
        for caption in self.captions:
            if self.token not in caption:
                raise LearningRefused(f"The caption {caption!r} does not name {self.token}.")
