"""What generates and scores tokens: a protocol, and one file a policy."""
