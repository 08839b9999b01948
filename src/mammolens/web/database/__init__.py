"""The application's database: its tables, its connection and its migrations."""
