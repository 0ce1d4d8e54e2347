/* Calls and checks for a plugin's own tests, natively, with no WebAssembly at all: `test.sh` builds and runs them. */
#ifndef PORTCULLIS_TESTING_H
#define PORTCULLIS_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portcullis.h"

static int checked, wrong;

/* Counts, and says what is wrong where. */
#define CHECK(what) (checked++, (what) ? (void)0 : (wrong++, (void)printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what)))

/* Zero where all was right; for the end of `main`. */
static inline int test_done(void) {
    printf("%d checks, %d wrong\n", checked, wrong);
    return wrong == 0 && checked > 0 ? 0 : 1;
}

/* What the plugin says is wrong with these settings. It can be configured as often as a test likes. */
static inline pc_problems test_configure(const char *json) {
    pc_problems problems = {0};
    pc_value value;
    if (pc_parse(pc_words(json), &value)) portcullis_configure(&value, &problems);
    else pc_at(&problems, PC_TEXT("."), "is no JSON");
    return problems;
}

/* A call of this hook kind, by a person. */
static inline pc_call test_call(const char *hook) {
    pc_call call = {.id = PC_TEXT("event"), .tenant = PC_TEXT("default"), .hook = pc_words(hook), .payload = PC_TEXT("null")};
    call.received = 1700000000000;
    call.seed = 1;
    call.subject.is_some = true;
    call.subject.val.type_name = PC_TEXT("user");
    return call;
}

/* One attribute of the subject: JSON text. */
static inline void test_attribute(pc_call *call, const char *name, const char *json) {
    portcullis_policy_types_list_attribute_t *list = &call->subject.val.attributes;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    list->ptr[list->len++] = (pc_attribute){pc_words(name), pc_words(json)};
}

/* What can be shortened, within the bounds of an Okta token. Seconds. */
static inline void test_lifetime(pc_call *call, pc_target target, uint32_t seconds) {
    portcullis_policy_types_list_lifetime_t *list = &call->lifetimes;
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    list->ptr[list->len++] = (pc_lifetime){.target = (uint8_t)target, .seconds = seconds, .least = 300, .most = 86400};
}

/* Tables and memory of a test. A plugin sees what the host would give it, apart from errors of counting: counts are exact here. Keys of
 * tables are equal or not: networks are not supported here. */
typedef struct test_entry {
    struct test_entry *next;
    int sort; /* 0: a row; 1: a value; 2: a number in a counter */
    pc_scope scope;
    pc_text table, subject, key, member;
    pc_row row;
    pc_bytes value;
    uint64_t at, until;
} test_entry;
static test_entry *test_world;
static const pc_call *test_current;
static bool test_stale;

static inline test_entry *test_add(test_entry entry) {
    test_entry *added = malloc(sizeof *added);
    *added = entry;
    added->next = NULL;
    test_entry **end = &test_world;
    while (*end != NULL) end = &(*end)->next;
    return *end = added;
}

/* Gives a table one more row: below this key, and of this subject, or of none where that is NULL. Add its columns with `test_column`. */
static inline pc_row *test_row(const char *table, const char *key, const char *subject) {
    pc_text whose = subject == NULL ? (pc_text){NULL, 0} : pc_words(subject);
    return &test_add((test_entry){.sort = 0, .table = pc_words(table), .key = pc_words(key), .subject = whose})->row;
}

/* One column of a row: JSON text. */
static inline void test_column(pc_row *row, const char *name, const char *json) {
    row->columns.ptr = realloc(row->columns.ptr, (row->columns.len + 1) * sizeof *row->columns.ptr);
    row->columns.ptr[row->columns.len++] = (pc_attribute){pc_words(name), pc_words(json)};
}

/* Whether the tables are stale, from now on. */
static inline void test_set_stale(bool stale) { test_stale = stale; }

/* Takes away all tables and all memory. */
static inline void test_reset(void) {
    test_world = NULL;
    test_stale = false;
}

/* Makes what follows part of this call: its time and its subject. `test_decide` does so. */
static inline void test_enter(const pc_call *call) { test_current = call; }

static inline pc_text test_subject(void) {
    bool known = test_current != NULL && test_current->subject.is_some && test_current->subject.val.id.is_some;
    return known ? test_current->subject.val.id.val : (pc_text){NULL, 0};
}

static inline uint64_t test_now(void) { return test_current == NULL ? 0 : test_current->received; }

/* Ends the test where the host would end the call. */
static inline void test_refuse(bool refused, const char *why) {
    if (!refused) return;
    printf("the host would end the call: %s\n", why);
    exit(1);
}

static inline bool test_at(const test_entry *entry, int sort, uint8_t scope, const pc_text *key) {
    bool own = scope == PC_SHARED || pc_same(entry->subject, test_subject());
    return entry->sort == sort && entry->scope == scope && own && pc_same(entry->key, *key);
}

static inline test_entry test_entry_for(int sort, uint8_t scope, const pc_text *key) {
    test_refuse(scope == PC_SUBJECT && test_subject().ptr == NULL, "the call has no subject to remember");
    test_refuse(key->len < 1 || key->len > 256, "a key has 1 to 256 bytes");
    return (test_entry){.sort = sort, .scope = (pc_scope)scope, .subject = test_subject(), .key = *key, .at = test_now()};
}

static inline void test_collect(const pc_text *table, const pc_text *key, portcullis_policy_reference_list_row_t *rows) {
    bool known = false;
    *rows = (portcullis_policy_reference_list_row_t){NULL, 0};
    for (test_entry *entry = test_world; entry != NULL; entry = entry->next) {
        if (entry->sort != 0 || !pc_same(entry->table, *table)) continue;
        known = true;
        pc_text subject = test_subject();
        bool found = key != NULL ? pc_same(entry->key, *key) : subject.ptr != NULL && pc_same(entry->subject, subject);
        if (!found) continue;
        rows->ptr = realloc(rows->ptr, (rows->len + 1) * sizeof *rows->ptr);
        rows->ptr[rows->len++] = entry->row;
    }
    test_refuse(!known, "there is no such table in this test");
}

/* What the plugin decides; ends the test where it fails. */
static inline pc_decision *test_decide(const pc_call *call) {
    test_enter(call);
    pc_decision *decision = calloc(1, sizeof *decision);
    const char *failed = portcullis_evaluate(call, decision);
    if (failed != NULL) {
        printf("the plugin failed: %s\n", failed);
        exit(1);
    }
    return decision;
}

/* What the host does in a plugin. */
void pc_reserve(size_t room) { (void)room; }
void portcullis_policy_journal_note(plugin_string_t *message) { printf("note: %.*s\n", (int)message->len, message->ptr); }

void portcullis_policy_reference_lookup(plugin_string_t *table, plugin_string_t *key, portcullis_policy_reference_table_rows_t *ret) {
    *ret = (portcullis_policy_reference_table_rows_t){.version = PC_TEXT("test"), .stale = test_stale};
    test_collect(table, key, &ret->rows);
}

void portcullis_policy_reference_lookup_subject(plugin_string_t *table, portcullis_policy_reference_subject_rows_t *ret) {
    *ret = (portcullis_policy_reference_subject_rows_t){.version = PC_TEXT("test"), .stale = test_stale};
    test_collect(table, NULL, &ret->rows);
    ret->matched = ret->rows.len > 0 ? PC_MATCH_ONE : PC_MATCH_NONE;
}

bool portcullis_policy_memory_recall(portcullis_policy_memory_scope_t scope, plugin_string_t *key, plugin_list_u8_t *ret) {
    bool found = false;
    test_entry_for(1, scope, key);
    for (test_entry *entry = test_world; entry != NULL; entry = entry->next) {
        if (!test_at(entry, 1, scope, key)) continue;
        found = test_now() < entry->until;
        *ret = entry->value;
    }
    return found;
}

void portcullis_policy_memory_remember(portcullis_policy_memory_scope_t scope, plugin_string_t *key, plugin_list_u8_t *value, uint32_t ttl_seconds) {
    test_refuse(value->len > 4096, "a value has at most 4,096 bytes");
    test_entry entry = test_entry_for(1, scope, key);
    entry.value = (pc_bytes){malloc(value->len + 1), value->len};
    memcpy(entry.value.ptr, value->ptr, value->len);
    entry.until = entry.at + (uint64_t)ttl_seconds * 1000;
    test_add(entry);
}

void portcullis_policy_memory_forget(portcullis_policy_memory_scope_t scope, plugin_string_t *key) {
    test_entry_for(1, scope, key);
    for (test_entry *entry = test_world; entry != NULL; entry = entry->next) {
        if (test_at(entry, 1, scope, key)) entry->sort = -1;
    }
}

/* Counts what lies in the window: members that differ, where `distinct`. */
static uint32_t test_count(uint8_t scope, const pc_text *key, uint32_t window, bool distinct) {
    uint32_t count = 0;
    test_entry_for(2, scope, key);
    for (test_entry *entry = test_world; entry != NULL; entry = entry->next) {
        bool within = entry->at <= test_now() && test_now() - entry->at < (uint64_t)window * 1000;
        if (!test_at(entry, 2, scope, key) || !within) continue;
        bool again = false;
        for (test_entry *before = test_world; distinct && before != entry; before = before->next) {
            bool counted = before->at <= test_now() && test_now() - before->at < (uint64_t)window * 1000;
            again = again || (counted && test_at(before, 2, scope, key) && pc_same(before->member, entry->member));
        }
        if (!again) count++;
    }
    return count;
}

uint32_t portcullis_policy_memory_count(portcullis_policy_memory_scope_t scope, plugin_string_t *key, uint32_t window_seconds) {
    return test_count(scope, key, window_seconds, false);
}

uint32_t portcullis_policy_memory_tally(portcullis_policy_memory_scope_t scope, plugin_string_t *key, uint32_t window_seconds) {
    test_add(test_entry_for(2, scope, key));
    return test_count(scope, key, window_seconds, false);
}

uint32_t portcullis_policy_memory_count_distinct(portcullis_policy_memory_scope_t scope, plugin_string_t *key, uint32_t window_seconds) {
    return test_count(scope, key, window_seconds, true);
}

uint32_t portcullis_policy_memory_tally_distinct(
    portcullis_policy_memory_scope_t scope, plugin_string_t *key, plugin_string_t *member, uint32_t window_seconds) {
    test_entry entry = test_entry_for(2, scope, key);
    entry.member = *member;
    test_add(entry);
    return test_count(scope, key, window_seconds, true);
}

#endif
