import pytest
import timm
import torch

from mint_utils.audited import ir  # noqa: F401  registers the networks


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = timm.create_model("ir_tiny", img_size=16)
    with torch.no_grad():  # as after training: statistics and weights of no special value
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()
