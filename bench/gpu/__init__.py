"""What a machine with a GPU has to show: is it right, how fast, in how much memory."""
