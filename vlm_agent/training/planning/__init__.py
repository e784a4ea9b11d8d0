"""Whether a run fits, how long it takes, and whether the agent will be quick enough: before anything is trained."""
