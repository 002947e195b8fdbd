"""How fast a recipe samples, trains and reads its data, beside the device's own best."""
