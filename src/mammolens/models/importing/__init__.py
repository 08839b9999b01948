"""Models from elsewhere: opened without running their code, loaded whole or refused."""
