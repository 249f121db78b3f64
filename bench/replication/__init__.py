"""The replication of docs/replication_plan.md: its arms, what runs them, what came of them, and the tables of it."""
