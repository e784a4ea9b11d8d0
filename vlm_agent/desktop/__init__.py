"""What recorder, executor and doctor share of a real desktop: windows, keys, pictures of the screen."""
