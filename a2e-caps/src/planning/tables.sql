CREATE TABLE plans (
    plan_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    columns TEXT NOT NULL,      -- a JSON list: a name may hold a comma
    description TEXT NOT NULL,
    created_at REAL NOT NULL    -- seconds since the Unix epoch
) STRICT;

CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY,
    plan_id TEXT NOT NULL REFERENCES plans(plan_id),
    title TEXT NOT NULL,
    status TEXT NOT NULL,
    description TEXT NOT NULL,
    assignee TEXT NOT NULL,
    deps TEXT NOT NULL,         -- a JSON list of task ids
    metadata TEXT NOT NULL,     -- a JSON object
    created_at REAL NOT NULL
) STRICT;

CREATE INDEX tasks_of ON tasks(plan_id);
