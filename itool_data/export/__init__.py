"""A run's samples and pairs in the layouts of other trainers, a file a trainer, with the settings that read them."""
