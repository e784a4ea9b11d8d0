"""Whether this machine can record, train and act, what to mend where it can't, and where a click would land."""
