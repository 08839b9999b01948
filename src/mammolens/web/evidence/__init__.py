"""What is known of the model in use, from its bundle and from the work here."""
