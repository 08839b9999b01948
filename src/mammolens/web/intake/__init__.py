"""Taking in what people upload: files, folders, archives; whole or not at all."""
