"""The Audited Model: its network, its loss, its exposures and its training.

Importing it registers the study's networks with timm: ``timm.create_model("ir_50")``.
"""

from mint_utils.audited import ir as ir
