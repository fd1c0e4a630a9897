"""Running the notebooks, all in one command or in stages, and estimating beforehand what that takes."""
