"""What a cluster says of itself, and what its users are told of it. Sends nothing."""
