"""How fast the parts of the study are, each as a ratio to a plain reference measured in the same run."""
