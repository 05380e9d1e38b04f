"""The tables of the journal's file, version by version."""

_V1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE runs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        pipeline TEXT NOT NULL,
        number INTEGER,
        state TEXT NOT NULL CHECK (state IN ('running', 'interrupted', 'finished', 'failed', 'skipped')),
        trigger TEXT NOT NULL,
        slot TEXT,
        reference TEXT NOT NULL DEFAULT '',
        settings TEXT NOT NULL DEFAULT '{}',
        host TEXT NOT NULL DEFAULT '',
        pid INTEGER,
        pid_started REAL,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        verdict TEXT,
        exit_code INTEGER,
        reasons TEXT NOT NULL DEFAULT '[]',
        seen TEXT NOT NULL DEFAULT 'null',
        learned TEXT NOT NULL DEFAULT 'null',
        phases TEXT NOT NULL DEFAULT '{}',
        headlines TEXT NOT NULL DEFAULT '{}',
        tracking_uri TEXT,
        experiment TEXT,
        mlflow_run_id TEXT,
        model_version INTEGER,
        UNIQUE (pipeline, number))""",
    "CREATE INDEX runs_of_pipeline ON runs (pipeline, seq)",
    "CREATE INDEX runs_by_state ON runs (pipeline, state, seq)",
    "CREATE INDEX runs_open ON runs (seq) WHERE state = 'running'",
    "CREATE INDEX runs_in_mlflow ON runs (mlflow_run_id) WHERE mlflow_run_id IS NOT NULL",
    """CREATE TABLE stages (
        uid TEXT NOT NULL REFERENCES runs (uid),
        stage TEXT NOT NULL,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        seconds REAL,
        result TEXT,
        PRIMARY KEY (uid, stage)) WITHOUT ROWID""",
    "CREATE TABLE records (uid TEXT PRIMARY KEY REFERENCES runs (uid), record TEXT NOT NULL)",
    """CREATE TABLE readings (
        pipeline TEXT NOT NULL,
        key TEXT NOT NULL,
        seq INTEGER NOT NULL REFERENCES runs (seq),
        value REAL NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (pipeline, key, seq)) WITHOUT ROWID""",
    "CREATE INDEX readings_by_value ON readings (pipeline, key, value) WHERE status = 'measured'",
    """CREATE TABLE promotions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        pipeline TEXT NOT NULL,
        uid TEXT NOT NULL REFERENCES runs (uid),
        previous TEXT,
        at TEXT NOT NULL,
        by TEXT NOT NULL,
        reason TEXT NOT NULL,
        forced INTEGER NOT NULL)""",
    "CREATE INDEX promotions_of_pipeline ON promotions (pipeline, seq)",
    "CREATE TRIGGER promotions_stay BEFORE UPDATE ON promotions BEGIN SELECT RAISE(ABORT, 'append only'); END",
    "CREATE TRIGGER promotions_last BEFORE DELETE ON promotions BEGIN SELECT RAISE(ABORT, 'append only'); END",
    """CREATE TABLE outbox (
        uid TEXT PRIMARY KEY REFERENCES runs (uid),
        queued_at TEXT NOT NULL,
        sent_at TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT)""",
    "CREATE INDEX outbox_waiting ON outbox (uid) WHERE sent_at IS NULL",
    """CREATE TABLE engines (
        uid TEXT PRIMARY KEY REFERENCES runs (uid),
        manifest_digest TEXT NOT NULL,
        folder TEXT NOT NULL)""",
)

_V2 = (
    """CREATE TABLE noise (
        pipeline TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        profile TEXT NOT NULL,
        key TEXT NOT NULL,
        half_width REAL NOT NULL,
        comparisons INTEGER NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (pipeline, fingerprint, profile, key)) WITHOUT ROWID""",
)

_V3 = (
    """CREATE TABLE slots (
        id INTEGER PRIMARY KEY,
        pipeline TEXT NOT NULL,
        cause TEXT NOT NULL,
        planned_s REAL NOT NULL,
        due_s REAL NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('due', 'running', 'ran', 'skipped', 'missed', 'failed', 'timed_out')),
        reason TEXT NOT NULL DEFAULT '',
        was_missed INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before_s REAL,
        started_s REAL,
        ended_s REAL,
        exit_code INTEGER,
        verdict TEXT,
        run TEXT,
        owner TEXT,
        UNIQUE (pipeline, cause, planned_s))""",
    "CREATE INDEX slots_open ON slots (planned_s) WHERE state IN ('due', 'running')",
    "CREATE INDEX slots_started ON slots (pipeline, started_s) WHERE started_s IS NOT NULL",
    """CREATE TABLE cadences (
        pipeline TEXT PRIMARY KEY,
        cadence TEXT NOT NULL,
        upto_s REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE pauses (
        pipeline TEXT PRIMARY KEY,
        at_s REAL NOT NULL,
        by TEXT NOT NULL,
        reason TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE conditions (
        pipeline TEXT NOT NULL,
        condition TEXT NOT NULL,
        since_s REAL NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (pipeline, condition)) WITHOUT ROWID""",
    """CREATE TABLE alerts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        pipeline TEXT NOT NULL,
        target TEXT NOT NULL,
        message TEXT NOT NULL,
        queued_s REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before_s REAL NOT NULL,
        error TEXT NOT NULL DEFAULT '',
        outcome TEXT CHECK (outcome IN ('sent', 'dropped')),
        ended_s REAL)""",
    "CREATE INDEX alerts_waiting ON alerts (id) WHERE outcome IS NULL",
)

_V4 = (
    "ALTER TABLE runs ADD COLUMN fingerprint TEXT NOT NULL DEFAULT ''",
    "UPDATE runs SET fingerprint = COALESCE((SELECT json_extract(record, '$.fingerprint.digest') FROM records"
    " WHERE records.uid = runs.uid), '')",
    "ALTER TABLE readings ADD COLUMN method TEXT NOT NULL DEFAULT ''",
    "INSERT OR REPLACE INTO readings (pipeline, key, seq, value, status, method)"
    " SELECT old.pipeline, old.key, old.seq, old.value, old.status, COALESCE(json_extract(row.value, '$.method'), '')"
    " FROM records JOIN runs ON runs.uid = records.uid JOIN json_each(records.record, '$.card') AS row"
    " JOIN readings AS old ON old.pipeline = runs.pipeline AND old.seq = runs.seq"
    " AND old.key = json_extract(row.value, '$.key')",
)

_ALARMS = (
    """CREATE TABLE alarms (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        pipeline TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        number INTEGER NOT NULL,
        uid TEXT NOT NULL REFERENCES runs (uid),
        worse INTEGER NOT NULL,
        alarm TEXT NOT NULL,
        UNIQUE (pipeline, key, fingerprint, number))""",
    "CREATE INDEX alarms_of_run ON alarms (uid)",
    "CREATE TRIGGER alarms_stay BEFORE UPDATE ON alarms BEGIN SELECT RAISE(ABORT, 'append only'); END",
    "CREATE TRIGGER alarms_last BEFORE DELETE ON alarms BEGIN SELECT RAISE(ABORT, 'append only'); END",
    """CREATE TABLE alarm_states (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        alarm INTEGER NOT NULL REFERENCES alarms (id),
        state TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved')),
        at TEXT NOT NULL,
        by TEXT NOT NULL,
        note TEXT)""",
    "CREATE INDEX states_of_alarm ON alarm_states (alarm, seq)",
    "CREATE TRIGGER alarm_states_stay BEFORE UPDATE ON alarm_states BEGIN SELECT RAISE(ABORT, 'append only'); END",
    "CREATE TRIGGER alarm_states_last BEFORE DELETE ON alarm_states BEGIN SELECT RAISE(ABORT, 'append only'); END",
)

_EVIDENCE = (
    """CREATE TABLE evidence (
        uid TEXT NOT NULL REFERENCES runs (uid),
        kind TEXT NOT NULL,
        label TEXT NOT NULL,
        process INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (uid, kind, label, process)) WITHOUT ROWID""",
)
"""What is kept of raw samples for ever: `domain.compact`."""

_KINDS = (
    "ALTER TABLE promotions ADD COLUMN kind TEXT NOT NULL DEFAULT 'retrain'"
    " CHECK (kind IN ('retrain', 'promote', 'rollback'))",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_V1, _V2, _V3, _V4, _EVIDENCE, _ALARMS, _KINDS)
"""Statements per schema version, oldest first. Append only: a version that was released never changes."""
