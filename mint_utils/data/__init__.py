"""From databases on disk, or drawn by the package, to arrays of images with their keys."""
