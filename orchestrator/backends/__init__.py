"""Where jobs run. A backend says whether a job lives; the log says how its trials went."""
