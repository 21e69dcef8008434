"""The trainer, its criterion, optimizers and schedules, and checkpointing."""
