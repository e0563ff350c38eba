"""How many devices a number of people need, and which part gives way first: a simulation fed with measured times."""
