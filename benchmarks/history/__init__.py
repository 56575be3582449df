"""How fast a store of many groups is read, shown as pages, and written."""
