"""Who somebody is, and what the application does before any view runs."""
