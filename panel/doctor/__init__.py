"""The doctor: is what the database says what the nodes have? Item by item, and it changes nothing."""
