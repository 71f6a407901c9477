"""How good a model is at cameras that were not given to it, beside what can be had without one."""
