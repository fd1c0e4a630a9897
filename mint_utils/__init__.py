"""Membership Inference Test of face recognition: the utilities under the notebooks."""
