"""Names of addresses at name servers: which records shall be there, and bringing the servers to them."""
