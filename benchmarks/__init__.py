"""How fast the parts of the study are, each as a ratio to a plain reference measured in the same run."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # rates are printed here; read when tqdm is imported
