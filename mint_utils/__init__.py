"""Membership Inference Test of face recognition: the utilities under the notebooks."""

import os

# PyTorch's threads wait for each other by spinning. Where something else holds a core they spin most of the
# time away (a training beside four busy processes went at 1% of its rate), so they sleep after microseconds.
# Read when PyTorch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
