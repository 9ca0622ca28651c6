"""The bench without hardware: simulated devices and the one physical state that they share."""
