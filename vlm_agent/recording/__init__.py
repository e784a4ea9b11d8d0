"""Recording a person at a real screen: capture, devices, game state, and what ties them into one session."""
