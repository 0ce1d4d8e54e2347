//! The declaration of a reference table: its format, columns, key, bounds and rules.
//!
//! Invariant: a host takes declarations from a signed release set alone, so it trusts them; it does
//! not trust the bytes of the table. Unknown members are refused. This file only parses members and
//! fills in defaults: [`Declaration::check`] finds out whether the members fit together, and
//! reports every problem at once.

use serde::{Deserialize, Serialize};

/// A reference table, as an operator declares it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The name by which plugins look the table up: `a` to `z`, digits and `-`, at most 64.
    pub name: String,
    /// The format of the bytes.
    pub format: Format,
    /// CSV only: the character between cells, one ASCII character. Default `,`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// CSV and XLSX only: the row with the names of the columns, counted from 1 (in CSV without
    /// empty lines). Rows above it, such as the title of a report, are skipped. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_row: Option<u32>,
    /// XLSX only: the name of the sheet. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// SQLite only, and required there: the name of the table in the database. Views are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_table: Option<String>,
    /// Where versions come from, other than the host's folder of tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TableSource>,
    /// The columns that are kept, at most [`MAX_COLUMNS`]. Others in the export are ignored.
    pub columns: Vec<Column>,
    /// The columns by which rows are looked up.
    pub key: Key,
    /// How a call's subject is matched with rows, in the order in which the rules are tried.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matching: Vec<MatchRule>,
    /// A version with fewer rows is refused. Default 1: an empty export is mostly a failed one.
    #[serde(default = "default_min_rows")]
    pub min_rows: u32,
    /// A version with more rows is refused. Default 1 000 000, at most [`MAX_ROWS`].
    #[serde(default = "default_max_rows")]
    pub max_rows: u32,
    /// A version with more bytes is refused. Default 256 MiB, at most [`MAX_BYTES`].
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// The age in seconds after which the table is stale.
    pub max_age_seconds: u64,
    /// The consequence of a stale table, and of one of which no version was loaded yet. Default
    /// `deny`.
    #[serde(default)]
    pub stale: StaleRule,
    /// The consequence of a look-up without a row. Default `deny`.
    #[serde(default)]
    pub no_match: NoMatchRule,
    /// The consequence of a look-up with several rows. Default `deny`.
    #[serde(default)]
    pub several_matches: SeveralRule,
    /// When a new version waits for a signed confirmation.
    #[serde(default)]
    pub hold: Hold,
    /// Whether each version needs the signature of the trust root's role `data` beside it. Default
    /// false: a writer of the file decides about its rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
}

/// Where the versions of a table come from: an address, or somebody who pushes them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    /// The address of the export, which the host downloads: `https`, or `http` to a loopback
    /// address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// With `url`, for a signed table and required there: the address of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_url: Option<String>,
    /// With `url`: seconds between two downloads. Default 900; 1 to 86,400.
    #[serde(default = "default_every")]
    pub every_seconds: u32,
    /// Whether versions are pushed to the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub push: bool,
}

/// The format of a table's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// RFC 4180, UTF-8 with or without a byte order mark, a row with names first.
    Csv,
    /// One JSON object a line, UTF-8.
    JsonLines,
    /// Workbooks of ECMA-376, such as `.xlsx` files.
    Xlsx,
    /// SQLite 3 database files.
    Sqlite,
    /// MaxMind DB 2.0.
    Mmdb,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The name in this table: `a` to `z`, digits and `_`, at most 64.
    pub name: String,
    /// The column's name in the export; for JSON Lines and MMDB a JSON Pointer (RFC 6901) into the
    /// object or record. The network itself is `network` for MMDB. Default: `name` (or `/name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The type of the cells.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether every row must have a value. An empty or blank cell has none. The columns of the key
    /// are always required.
    #[serde(default)]
    pub required: bool,
    /// Whether no two rows may have the same value, compared by the rules of the key.
    #[serde(default)]
    pub unique: bool,
    /// `date` and `instant`: the format of the text, in the conversions of `strptime`, such as
    /// `%m/%d/%Y`. Default: ISO 8601 dates and RFC 3339 instants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `instant` with a format: the IANA time zone in which the text is to be read. A time that a
    /// change of clocks skips is read as the hour after, one that occurs twice as the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `list`: the text between items. Default `;`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// `boolean`: the texts that mean true, without regard to ASCII case. Default `true`, `yes`,
    /// `y`, `1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub true_values: Vec<String>,
    /// `boolean`: the texts that mean false. Default `false`, `no`, `n`, `0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub false_values: Vec<String>,
}

/// The type of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    /// Text, kept as it is.
    Text,
    /// A whole number between -(2^63 - 1) and 2^63 - 1.
    Integer,
    /// True or false.
    Boolean,
    /// A day of the calendar, without a time zone.
    Date,
    /// A moment, to the microsecond.
    Instant,
    /// Texts, in one cell with a separator or as a JSON array.
    List,
    /// An IP network in CIDR notation; an address alone is a network of one.
    IpNetwork,
}

/// The columns by which rows are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Names of columns, in the order in which a look-up gives their values; at most 8.
    pub columns: Vec<String>,
    /// How a value is compared with a row. Default `exact`.
    #[serde(default)]
    pub kind: KeyKind,
    /// The differences between texts that are ignored.
    #[serde(default)]
    pub rules: TextRules,
}

/// How a value is compared with the key of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Equal.
    #[default]
    Exact,
    /// The value is an address; the rows of the longest prefix that contains it are found.
    Network,
}

/// The differences that are ignored when texts are compared. The cells themselves stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TextRules {
    /// White space around the text is ignored. Default true.
    #[serde(default = "yes")]
    pub trim: bool,
    /// Whether case is ignored. Default `none`.
    #[serde(default)]
    pub case: CaseRule,
    /// Texts that look the same are equal however they are composed (Unicode NFC, UAX #15).
    /// Default true.
    #[serde(default = "yes")]
    pub nfc: bool,
}

/// Whether case is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseRule {
    /// `A` and `a` differ.
    #[default]
    None,
    /// `A` to `Z` equal `a` to `z`; other letters differ by case.
    Ascii,
    /// Unicode full case folding (CaseFolding.txt, C and F): `STRASSE` equals `straße`.
    Unicode,
}

/// One way in which a call's subject is matched with rows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// The subject's field: `id`, `login`, `email` or the name of an attribute. Use fields that the
    /// subject cannot change; an address that people may edit lets them pick another one's row.
    pub subject: String,
    /// The column with which the value is compared.
    pub column: String,
    /// The differences between texts that are ignored.
    #[serde(default)]
    pub rules: TextRules,
    /// A table that translates the subject's value first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crosswalk: Option<Crosswalk>,
}

/// A table that translates ids of one system into ids of another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Crosswalk {
    /// The name of the other table; its key has one column.
    pub table: String,
    /// The column of the other table whose value is then compared.
    pub column: String,
}

/// The consequence of a stale table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaleRule {
    /// The call is denied.
    #[default]
    Deny,
    /// The rows are used; plugin and record learn that they are stale.
    UseAndFlag,
    /// The table is treated as if it had no rows for the key.
    TreatAsAbsent,
}

/// The consequence of a look-up without a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoMatchRule {
    /// The call is denied.
    #[default]
    Deny,
    /// The plugin gets no rows and decides.
    TreatAsAbsent,
}

/// The consequence of a look-up with several rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeveralRule {
    /// The call is denied.
    #[default]
    Deny,
    /// The plugin gets no rows and decides.
    TreatAsAbsent,
    /// The plugin gets all rows.
    UseAll,
}

/// When a new version waits for a signed confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// A version is held that loses or changes more than this share of the rows. Default 5; 0 holds
    /// a version that loses or changes any row, 100 holds none.
    #[serde(default = "default_hold")]
    pub above_percent: u8,
    /// The columns whose change counts, such as employment state or role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<String>,
}

impl Default for TextRules {
    fn default() -> Self {
        Self { trim: true, case: CaseRule::None, nfc: true }
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self { above_percent: default_hold(), watch: Vec::new() }
    }
}

impl Format {
    /// Returns the name, as a declaration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "json-lines",
            Self::Xlsx => "xlsx",
            Self::Sqlite => "sqlite",
            Self::Mmdb => "mmdb",
        }
    }
}

fn yes() -> bool {
    true
}

fn default_min_rows() -> u32 {
    1
}

fn default_max_rows() -> u32 {
    1_000_000
}

fn default_max_bytes() -> u64 {
    256 << 20
}

fn default_every() -> u32 {
    900
}

fn default_hold() -> u8 {
    5
}

/// Columns that a declaration may keep.
pub const MAX_COLUMNS: usize = 64;

/// Rows that a declaration may allow: fifty million. A row costs up to 100 bytes of memory.
pub const MAX_ROWS: u32 = 50_000_000;

/// Bytes that a declaration may allow: 4 GiB.
pub const MAX_BYTES: u64 = 4 << 30;
