"""What a run wrote: Delta tables with one log of commits over all of them, and SQL on any version."""
