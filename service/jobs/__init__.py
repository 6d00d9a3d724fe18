"""Jobs: what a request becomes, from the queue to its result."""
