"""What a stage needs of a device's memory, by arithmetic; see need.py."""
