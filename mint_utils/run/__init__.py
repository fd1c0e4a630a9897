"""What runs the notebooks, at once or in stages, and tells beforehand what that takes.

In: a configuration and the names of notebooks. Out: executed notebooks, their pages, an exit status.
"""
