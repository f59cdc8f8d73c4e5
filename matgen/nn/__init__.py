"""Networks: attention, caches, condition slots, the model as one module."""
