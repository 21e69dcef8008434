"""Memory of a forward pass, counted by the tensors that exist at one time."""

from collections.abc import MutableMapping
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    """Records the largest total size of the results of operations that exist at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.peak_bytes = 0
        self._bytes: MutableMapping[UntypedStorage, int] = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._bytes[storage] = storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, sum(self._bytes.values()))
        return result
