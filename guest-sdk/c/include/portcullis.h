/* What a plugin author needs to write a Portcullis plugin in C.
 *
 * A plugin defines two functions:
 *
 *     void portcullis_configure(const pc_value *settings, pc_problems *problems);      once, when a release is activated
 *     const char *portcullis_evaluate(const pc_call *call, pc_decision *decision);     once a call, in an instance of its own
 *
 * What `portcullis_configure` prepares stays in static variables: the host takes a snapshot of them. `portcullis_evaluate` begins from that
 * snapshot every time, adds to an empty decision, and gives NULL, or the sentence with which it failed. A refusal is no failure but a
 * finding with PC_DENY.
 *
 * Memory is taken with `malloc` and need not be given back. Text (`pc_text`) is UTF-8 of a known length and ends with no zero.
 */
#ifndef PORTCULLIS_H
#define PORTCULLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bindings/plugin.h"

/* The contract's words. */
typedef plugin_string_t pc_text;
typedef portcullis_policy_types_attribute_t pc_attribute;
typedef portcullis_policy_types_principal_t pc_principal;
typedef portcullis_policy_types_entity_t pc_entity;
typedef portcullis_policy_types_lifetime_t pc_lifetime;
typedef portcullis_policy_types_call_t pc_call;
typedef portcullis_policy_types_change_t pc_change;
typedef portcullis_policy_types_finding_t pc_finding;
typedef portcullis_policy_types_decision_t pc_decision;

typedef portcullis_policy_reference_row_t pc_row;
typedef portcullis_policy_reference_table_rows_t pc_rows;
typedef portcullis_policy_reference_subject_rows_t pc_subject_rows;
typedef plugin_list_u8_t pc_bytes;

typedef enum { PC_MATCH_NONE, PC_MATCH_ONE, PC_MATCH_SEVERAL } pc_match;
typedef enum { PC_SUBJECT, PC_SHARED } pc_scope;
typedef enum { PC_ABSTAIN, PC_ALLOW, PC_STEP_UP, PC_REVIEW, PC_DENY } pc_effect;
typedef enum { PC_INFO, PC_LOW, PC_MEDIUM, PC_HIGH, PC_CRITICAL } pc_severity;
typedef enum { PC_ID_TOKEN, PC_ACCESS_TOKEN, PC_ASSERTION, PC_USER, PC_APP_USER, PC_REQUEST, PC_RESPONSE } pc_target;
typedef enum { PC_ENTITLEMENT, PC_GROUP, PC_ROLE, PC_SCOPE, PC_APP, PC_CLAIM } pc_grant_kind;

/* A value of JSON text. */
typedef enum { PC_NULL, PC_BOOLEAN, PC_NUMBER, PC_STRING, PC_ARRAY, PC_OBJECT } pc_type;
typedef struct pc_value {
    pc_type type;
    bool boolean;
    pc_text text;            /* a string's characters, or a number as it was written */
    size_t count;            /* members of an array or an object */
    struct pc_value *values; /* its members, in their order */
    pc_text *names;          /* an object's names, in the same order */
} pc_value;

typedef struct pc_problems pc_problems;

/* The plugin's own. */
void portcullis_configure(const pc_value *settings, pc_problems *problems);
const char *portcullis_evaluate(const pc_call *call, pc_decision *decision);

/* Bytes that a call gets before its memory grows: define it otherwise for a plugin that needs more. */
#ifndef PORTCULLIS_ROOM
#define PORTCULLIS_ROOM ((size_t)512 << 10)
#endif

/* Text. */
#define PC_TEXT(literal) ((pc_text){(uint8_t *)(literal), sizeof(literal) - 1})
pc_text pc_words(const char *text);
bool pc_same(pc_text a, pc_text b);
bool pc_is(pc_text text, const char *words);
/* Equal but for the case of ASCII letters, which means the same in every language. */
bool pc_same_letters(pc_text a, pc_text b);
/* Text with `%s` (const char *), `%t` (const pc_text *) and `%u` (unsigned) filled in. Nothing else is known. */
pc_text pc_print(const char *format, ...);

/* JSON. False where it is none, has half a surrogate pair, or is nested deeper than 64. */
bool pc_parse(pc_text json, pc_value *value);
/* An object's member; NULL where it has none, or is no object. */
const pc_value *pc_member(const pc_value *object, const char *name);

/* A number that is whole and fits. */
bool pc_whole(const pc_value *number, uint32_t *found);

/* An attribute that is a string; false when it is absent, something else, or there is nobody. */
bool pc_text_of(const pc_principal *who, const char *name, pc_text *found);
/* Who the call is about; NULL where that is not read. */
const pc_principal *pc_subject(const pc_call *call);

/* Settings: adds what is wrong there, such as `pc_at(problems, pc_print("rules[%u].b", i), "names no function")`. */
void pc_at(pc_problems *problems, pc_text path, const char *what);
/* Whether a value has this type; where it has not, or is absent, that is a problem. */
bool pc_expect(const pc_value *value, pc_type type, pc_text path, pc_problems *problems);
/* Whether all members of an object are among these names (the list ends with NULL), each once; others are problems. `path` may be empty. */
bool pc_members(const pc_value *object, const char *const *names, pc_text path, pc_problems *problems);

/* Decisions. A finding may be filled until the next one is made. */
pc_finding *pc_find(pc_decision *decision, const char *code, pc_effect effect, pc_severity severity);
void pc_argument(pc_finding *finding, const char *name, pc_text value);
void pc_argument_number(pc_finding *finding, const char *name, int64_t value);
void pc_cap_lifetime(pc_decision *decision, pc_target target, uint32_t seconds);
void pc_add_grant(pc_decision *decision, pc_grant_kind kind, pc_text id);
void pc_drop_grant(pc_decision *decision, pc_grant_kind kind, pc_text id);
/* Any other change: `bindings/plugin.h` has the tags and their values. */
pc_change *pc_add_change(pc_decision *decision);
/* The strictest effect among the findings: the verdict that the host derives. */
pc_effect pc_verdict(const pc_decision *decision);

/* Writes to the sealed part of the record. Needs the capability `journal`. */
void pc_note(pc_text message);

/* Reference tables. They need the capability `reference`, and the columns `tables.NAME.COLUMN` in the manifest's `reads`. */
/* All rows of a key, in the order of the table. */
pc_rows pc_lookup(pc_text table, pc_text key);
/* The rows of the call's subject; `matched` is a pc_match. */
pc_subject_rows pc_lookup_subject(pc_text table);
/* A column that is a string; false where the cell is empty, something else, or the manifest does not read the column. */
bool pc_column_text(const pc_row *row, const char *name, pc_text *found);
/* A column's value; false where the cell is empty, or the manifest does not read the column. */
bool pc_column(const pc_row *row, const char *name, pc_value *found);

/* The plugin's memory. It needs the capability `memory`. Windows and times to live are in seconds. */
/* The value of a key; false where there is none, or where its time is over. */
bool pc_recall(pc_scope scope, pc_text key, pc_bytes *value);
void pc_remember(pc_scope scope, pc_text key, pc_bytes value, uint32_t ttl);
/* Removes the value of a key. Its counters run out by themselves. */
void pc_forget(pc_scope scope, pc_text key);
/* How many were added within the window; the two that tally add one first, whatever comes of the call. */
uint32_t pc_count(pc_scope scope, pc_text key, uint32_t window);
uint32_t pc_tally(pc_scope scope, pc_text key, uint32_t window);
/* The same for different members. */
uint32_t pc_count_distinct(pc_scope scope, pc_text key, uint32_t window);
uint32_t pc_tally_distinct(pc_scope scope, pc_text key, pc_text member, uint32_t window);

/* For the SDK itself, and tests. */
struct pc_problems {
    plugin_list_string_t sentences;
    size_t further;
};
void pc_reserve(size_t room);

#endif
