"""The base task, the loop that trains it, augmentation, optimisers."""
