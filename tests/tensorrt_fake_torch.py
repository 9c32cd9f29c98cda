"""A stand-in for torch: the GPUs that CUDA_VISIBLE_DEVICES names, and a peak of memory."""

import os
from types import SimpleNamespace

__version__ = "2.9.1"
version = SimpleNamespace(cuda="13.0")
_GPUS = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
cuda = SimpleNamespace(
    is_available=lambda: bool(_GPUS),
    device_count=lambda: len(_GPUS),
    get_device_properties=lambda index: SimpleNamespace(uuid=_GPUS[index].removeprefix("GPU-")),
    synchronize=lambda: None,
    reset_peak_memory_stats=lambda: None,
    max_memory_allocated=lambda index: 3 << 20,
    max_memory_reserved=lambda index: 4 << 20,
)
