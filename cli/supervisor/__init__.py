"""Child processes that are started in order, kept alive, and never outlive whoever started them."""
