"""Dropout of whole channels, drawn for a batch that is computed in parts.

Shapes: N pictures of a part, C channels, H and W pixels.
"""

from torch import Tensor, nn


class ChannelDropout(nn.Module):
    """`nn.Dropout2d`; the same for a picture whichever process it is on.

    Every process draws for all pictures, so that their generators stay where one alone would be.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._count: int | None = None
        self._kept: Tensor | None = None
        self.place = slice(None)
        """Where the pictures to come lie in their batch."""

    def begin(self, count: int) -> None:
        """A batch of `count` pictures comes, in parts; else each call is a batch."""
        self._count, self._kept = count, None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), channels dropped while training."""
        if not self.training or not self.probability:
            return x
        if self._count is None or self._kept is None:
            drawn = x.new_empty(self._count or len(x), x.shape[1], 1, 1)
            self._kept = drawn.bernoulli_(1 - self.probability).div_(1 - self.probability)
        return x * self._kept[self.place]
