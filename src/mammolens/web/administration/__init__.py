"""What administrators see and choose: models, their import, the audit log, the state of the system."""
