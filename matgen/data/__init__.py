"""Token stores: made from datasets, memory-mapped, batched."""
