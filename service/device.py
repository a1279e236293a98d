"""Whether the device that the settings or a command name is there: said at the start, not by a request."""

from nbest.errors import ConfigError


def check_device(device: str, where: str = "NBEST_DEVICE") -> None:
    """Raises ConfigError, naming `where`, unless torch can use `device`: cpu, cuda or cuda:N."""
    if device == "cpu":
        return
    import torch

    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        there = ["cpu", *(f"cuda:{k}" for k in range(count))]
        raise ConfigError("no such device here", where=where, expected=" or ".join(there), got=device)
