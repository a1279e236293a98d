"""Products of inputs with rows, by the faster of torch's two libraries for them.

Torch's own choice for 32-bit floats, MKL, runs at half of its rate on a CPU that is not Intel's. oneDNN does
not, but torch has no public function for its products of plain tensors: the private one is used where it is
there.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 4  # inputs: for fewer, what oneDNN does before a product takes longer than it gains
_ONE_DNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(x: Tensor, rows: Tensor) -> Tensor:
    """(N, V) products of x (N, K) with rows (V, K); as torch.nn.functional.linear."""
    plain = x.dtype == rows.dtype == torch.float32 and x.device.type == rows.device.type == "cpu"
    training = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    if _ONE_DNN is None or training or not plain or len(x) < FEWEST:
        return functional.linear(x, rows)
    found: Tensor = _ONE_DNN(x, rows, None, "none", [], "")
    return found
