"""Pages on how a service is called, configured and paid for, and which of its judges fail."""
