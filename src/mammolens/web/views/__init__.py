"""Pages and the routes that their scripts call; they hold no logic of their own."""
