"""Several processes that train one model, against one."""
