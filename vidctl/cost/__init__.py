"""What an endpoint costs: an estimate before, a simulation of a load, a report after."""
