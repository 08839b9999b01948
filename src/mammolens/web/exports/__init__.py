"""A case to take away: one document, as JSON and as PDF."""
