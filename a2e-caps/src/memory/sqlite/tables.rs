//! The tables: entries on shelves, and their words. Twice: in the file, what outlives sessions; as
//! temporary tables of this connection (prefix `own_`), what ends with its session.

use a2e_core::sqlite::Schema;

/// The file.
pub(super) const SCHEMA: Schema = Schema {
    what: "memory",
    application_id: 0x4132_454d, // A2EM
    steps: &[include_str!("tables.sql")],
};

/// Where a shelf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    /// In the file, for every host that has it open.
    Kept,
    /// In this connection, for one session.
    Own,
}

impl Side {
    /// SQL for this side: `@` stands before the name of each of our tables.
    pub(super) fn sql(self, text: &str) -> String {
        text.replace(
            '@',
            match self {
                Self::Kept => "",
                Self::Own => "own_",
            },
        )
    }
}

/// SQL that makes the tables of sessions.
pub(super) fn own_tables() -> String {
    let text = include_str!("tables.sql");
    let mut own = text.replace("CREATE TABLE ", "CREATE TEMP TABLE own_");
    own = own.replace("CREATE TRIGGER ", "CREATE TEMP TRIGGER own_");
    own = own.replace("CREATE INDEX ", "CREATE INDEX temp.own_");
    own = own.replace("CREATE VIRTUAL TABLE ", "CREATE VIRTUAL TABLE temp.own_");
    for name in ["ON ", "UPDATE ", "DELETE FROM "] {
        for table in ["entries", "shelves", "words"] {
            own = own.replace(&format!("{name}{table}"), &format!("{name}own_{table}"));
        }
    }
    format!("PRAGMA temp_store = MEMORY;\n{own}")
}
