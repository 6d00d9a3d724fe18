"""What comes in: pictures are sniffed, measured and decoded on trial in a process of their own, then queued."""
