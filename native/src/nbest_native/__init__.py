"""CPU kernels of nbest: the LSTM step and the normaliser of its output layer, for the CPU at hand."""

from nbest_native._kernels import Cells, Linear, Matrix, Output, has_int8, isas

INTERFACE = 7  # counted up when what nbest calls changes

__all__ = ["INTERFACE", "Cells", "Linear", "Matrix", "Output", "has_int8", "isas"]
