"""Work over one policy or several side by side: the same jobs in this process or on Ray's actors."""
