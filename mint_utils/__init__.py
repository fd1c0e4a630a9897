"""Membership Inference Test of face recognition: the utilities under the notebooks."""

import ctypes
import os

# PyTorch's threads wait for each other by spinning. Where something else holds a core they spin most of the
# time away (a training beside four busy processes went at 1% of its rate), so they sleep after microseconds.
# Read when PyTorch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# PyTorch asks anew for the memory of each result, and glibc hands what is freed back to the system, which
# clears every page before it lends it again: a third of a training step, half of a forward pass. So what is
# freed is kept for the next result, but for requests above a gigabyte. Only glibc has these settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
if hasattr(ctypes.pythonapi, "gnu_get_libc_version"):
    ctypes.pythonapi.mallopt(M_MMAP_THRESHOLD, 2**30)
    ctypes.pythonapi.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
