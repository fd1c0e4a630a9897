"""What the package changes of its process."""

import platform
import resource
import subprocess
import sys

import pytest
import torch

from mint_utils import workers


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is set")
def test_freed_memory_is_kept_for_the_next_result():
    """Without it each of these tensors costs a fault a page; aligned ones take a few rounds to settle."""
    workers.keep_memory()
    for _ in range(8):
        torch.ones(2**24)  # 64 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 2**26 / resource.getpagesize() / 10


def test_models_are_made_where_there_is_no_notebook():
    """A machine that is lent for its GPU has PyTorch, and no Jupyter."""
    hidden = "import sys; sys.modules.update(dict.fromkeys(['IPython', 'papermill', 'nbformat']))"
    command = [sys.executable, "-c", f"{hidden}; import mint_utils.run.plan"]
    subprocess.run(command, check=True)
