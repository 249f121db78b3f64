"""A run on the Hugging Face Hub: its data as a data set, its adapter as a model, each with a card made from the run."""
