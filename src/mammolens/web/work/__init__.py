"""The work behind the pages: the queue, the processes that empty it, and what is deleted for good."""
